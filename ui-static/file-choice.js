// A file that is chosen, or dropped on its place.

// Calls `chosen(file)` for each file.
export function setUpFileChoice({ input, place, chosen }) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    // Cleared, so that the same file can be chosen again.
    input.value = "";
    if (file) chosen(file);
  });
  const isFile = ({ dataTransfer }) => dataTransfer.types.includes("Files");
  for (const name of ["dragenter", "dragover"]) {
    place.addEventListener(name, (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      place.dataset.over = "true";
    });
  }
  place.addEventListener("dragleave", (event) => {
    if (!place.contains(event.relatedTarget)) delete place.dataset.over;
  });
  place.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    delete place.dataset.over;
    const [file] = event.dataTransfer.files;
    if (file) chosen(file);
  });
  // A file dropped elsewhere would replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => isFile(event) && event.preventDefault());
}

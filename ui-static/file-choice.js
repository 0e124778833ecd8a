// A file that somebody chooses, or drops on its place.

// `chosen(file)` is called for each.
export function setUpFileChoice({ input, place, chosen }) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    // The same file again is a choice, too.
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
  // Dropped beside its place, a file would take the place of the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => isFile(event) && event.preventDefault());
}

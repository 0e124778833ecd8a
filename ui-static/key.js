// The API key that every request sends, with its name and roles.

// Kept only here, so that it is gone when the page is closed. No storage or cookie may hold it.
let used = null;
const listeners = new Set();

// `{ secret, name, roles }`, or null.
export function usedKey() {
  return used;
}

export function setKey(key) {
  used = key;
  for (const listener of listeners) listener(key);
}

// Returns the function that removes the listener.
export function whenKeyChanges(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

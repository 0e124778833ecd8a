// The API key that every request carries, and whose it is.

// Only here, so that it is gone with the page: nothing that outlives the page or leaves it by itself may hold it.
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

// Gives the function that ends the listening.
export function whenKeyChanges(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

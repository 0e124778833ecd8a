// The API key that every request carries, and whose it is.

// Only here, so that it is gone with the page: nothing that outlives the page or leaves it by itself may hold it.
let used = null;

// `{ secret, name, roles }`, or null.
export function usedKey() {
  return used;
}

export function setKey(key) {
  used = key;
}

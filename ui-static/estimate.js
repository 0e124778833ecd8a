// A share, estimated by a random sample.

const NORMAL_95 = 1.959964;

// Wilson's 95% interval. Correct for few answers and for shares near 0 and 1, where the simple interval is not.
export function wilson(found, of) {
  const square = NORMAL_95 ** 2;
  const share = found / of;
  const middle = (share + square / (2 * of)) / (1 + square / of);
  const half = (NORMAL_95 / (1 + square / of)) * Math.sqrt((share * (1 - share)) / of + square / (4 * of * of));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

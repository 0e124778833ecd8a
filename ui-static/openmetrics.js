// Parses the OpenMetrics text of `/metrics`.

const SAMPLE = /^([A-Za-z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})? (\S+)/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

// The samples of each name: `{ labels, value }`.
export function parseMetrics(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (!name) continue;
    if (!metrics.has(name)) metrics.set(name, []);
    metrics.get(name).push({ labels: labelsOf(labels), value: numberOf(value) });
  }
  return metrics;
}

// The sum of the samples with matching labels.
export function total(metrics, name, fits = () => true) {
  const samples = metrics.get(name) ?? [];
  return samples.reduce((sum, { labels, value }) => (fits(labels) ? sum + value : sum), 0);
}

// The counts of a histogram below each of its bounds, smallest bound first: `{ bound, count }`.
export function buckets(metrics, name, fits = () => true) {
  const counts = new Map();
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    if (fits(labels)) counts.set(numberOf(labels.le), (counts.get(numberOf(labels.le)) ?? 0) + value);
  }
  return [...counts].map(([bound, count]) => ({ bound, count })).toSorted((a, b) => a.bound - b.bound);
}

function labelsOf(text) {
  const pairs = text.matchAll(LABEL);
  return Object.fromEntries(Array.from(pairs, ([, name, value]) => [name, unescaped(value)]));
}

function unescaped(value) {
  return value.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape]);
}

function numberOf(value) {
  return value === "+Inf" ? Infinity : Number(value);
}

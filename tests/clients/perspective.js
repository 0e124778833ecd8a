// The client that most Node.js programs use for Perspective API. Its address is fixed in its code; the library that it
// sends requests with is told to send them elsewhere, and the client itself is as it was published.
"use strict";

const assert = require("node:assert/strict");
const [url, key] = process.argv.slice(2);
const axios = require("axios");
const Perspective = require("perspective-api-client");

axios.interceptors.request.use((request) => {
  request.url = request.url.replace("https://commentanalyzer.googleapis.com", url);
  return request;
});

async function main() {
  const client = new Perspective({ apiKey: key });
  const answer = await client.analyze("I will come to your house and <b>kill</b> you.", { attributes: ["threat"], languages: ["en"] });
  assert(answer.attributeScores.THREAT.summaryScore.value > 0.5, JSON.stringify(answer));
  const full = { comment: { text: "Nice song." }, requestedAttributes: { THREAT: {} }, doNotStore: true };
  assert((await client.analyze(full)).attributeScores.THREAT.summaryScore.value < 0.5);
  const refused = (promise) => promise.then(() => assert.fail("it was not refused"), (error) => error);
  const unknown = await refused(client.analyze("a", { attributes: ["toxicity"] }));
  assert.equal(unknown.name, "ResponseError");
  assert.match(unknown.message, /TOXICITY/);
  const wrong = await refused(new Perspective({ apiKey: "wrong" }).analyze("a", { attributes: ["threat"] }));
  assert.equal(wrong.response.status, 403);
}

main();

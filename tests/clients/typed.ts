// A typed client on types that were generated from `/openapi.json`: see docs/clients.md.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./generated";

const [baseUrl, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${key}` } });

async function main() {
  const { data } = await client.POST("/predict", { body: { text: "I will come to your house and kill you.", explain: false } });
  assert(data && data.label === "threat" && data.probability > 0.5);
  const { error } = await client.POST("/predict", { body: { text: " ", explain: false } });
  assert(error && error.type === "/problems/invalid-input");
  const perspective = await client.POST("/v1alpha1/comments:analyze", {
    body: { comment: { text: "I will come to your house and kill you." }, requestedAttributes: { THREAT: {} } },
  });
  assert(perspective.data && perspective.data.attributeScores!.THREAT.summaryScore.value > 0.5);
}

main();

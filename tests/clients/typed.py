"""A typed client that was generated from `/openapi.json`: see docs/clients.md."""

import sys

from generated import AuthenticatedClient
from generated.api.predict import post_predict, post_predict_batch
from generated.models import BatchComment, BatchRequest, PredictRequest, Problem

client = AuthenticatedClient(*sys.argv[1:])
verdict = post_predict.sync(client=client, body=PredictRequest("I will come to your house and kill you."))
assert verdict.label == "threat" and verdict.probability > 0.5, verdict

batch = BatchRequest([BatchComment("Nice song.", id="a"), BatchComment("", id="b")])
first, second = post_predict_batch.sync(client=client, body=batch).results
assert first.id == "a" and first.verdict.label == "harmless", first
assert second.id == "b" and second.problem.status == 422, second

refused = post_predict.sync(client=client, body=PredictRequest(" "))
assert isinstance(refused, Problem) and refused.type_ == "/problems/invalid-input", refused

"""Google's own client library, as the documentation of Perspective API shows its use, against another address."""

import sys

from googleapiclient import discovery
from googleapiclient.errors import HttpError

url, key = sys.argv[1:]


def client(developer_key):
    return discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey=developer_key,
        discoveryServiceUrl=f"{url}/$discovery/rest?version=v1alpha1",
        static_discovery=False,
    )


def refusal(call):
    try:
        call.execute()
    except HttpError as error:
        return error.resp.status, error.error_details
    raise AssertionError("it was not refused")


comments = client(key).comments()
text = "\U0001f600 Nice song. I will come to your house and kill you."
analyze = {
    "comment": {"text": text},
    "requestedAttributes": {"THREAT": {}},
    "languages": ["en"],
    "spanAnnotations": True,
}
answer = comments.analyze(body=analyze).execute()
threat = answer["attributeScores"]["THREAT"]
assert 0.5 < threat["summaryScore"]["value"] <= 1, answer
assert threat["summaryScore"]["type"] == "PROBABILITY", answer
utf16 = text.encode("utf-16-le")
spans = [utf16[2 * span["begin"] : 2 * span["end"]].decode("utf-16-le") for span in threat["spanScores"]]
assert spans == ["\U0001f600 Nice song.", "I will come to your house and kill you."], spans

suggestion = {
    "comment": {"text": text},
    "attributeScores": {"THREAT": {"summaryScore": {"value": 1}}},
    "clientToken": "a",
}
assert comments.suggestscore(body=suggestion).execute()["clientToken"] == "a"

status, details = refusal(comments.analyze(body=analyze | {"comment": {"text": ""}}))
assert status == 400 and details[0]["errorType"] == "COMMENT_EMPTY", details
status, details = refusal(comments.analyze(body=analyze | {"requestedAttributes": {"TOXICITY": {}}}))
assert status == 400 and details[0]["errorType"] == "INVALID_REQUEST", details
status, details = refusal(comments.analyze(body=analyze | {"languages": ["xx"]}))
assert details[0]["languageNotSupportedByAttributeError"]["attribute"] == "THREAT", details
status, details = refusal(client("wrong").comments().analyze(body=analyze))
assert status == 403 and details[0]["reason"] == "API_KEY_INVALID", details

"""OpenAI's own client library against another base URL."""

import sys

import openai

url, key = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

texts = ["I will come to your house and kill you.", "Nice song."]
answer = client.moderations.create(model="omni-moderation-latest", input=texts)
assert [result.flagged for result in answer.results] == [True, False], answer
threat = answer.results[0]
assert threat.categories.violence and threat.categories.harassment_threatening and threat.categories.hate_threatening
assert not threat.categories.sexual and threat.category_scores.sexual == 0
assert threat.category_scores.violence > 0.5
assert threat.category_applied_input_types.violence == ["text"]
assert all(value is not None for value in threat.categories.model_dump().values()), threat

one = client.moderations.create(input="Nice song.")
assert len(one.results) == 1 and one.id.startswith("modr-") and one.model, one
parts = client.moderations.create(input=[{"type": "text", "text": "I will come to your house and kill you."}])
assert parts.results[0].flagged

for wrong in ["", [], [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]]:
    try:
        client.moderations.create(input=wrong)
        raise AssertionError("it was not refused")
    except openai.BadRequestError as error:
        assert error.type == "invalid_request_error", error
try:
    openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).moderations.create(input="a")
    raise AssertionError("it was not refused")
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key", error
try:
    client.moderations.create(model="20200101T000000Z-00000000", input="a")
    raise AssertionError("it was not refused")
except openai.NotFoundError:
    pass

"""Triton's own client library, with tensors in binary form and in JSON."""

import sys
from urllib.parse import urlsplit

import numpy
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

url, key = sys.argv[1:]
client = http.InferenceServerClient(urlsplit(url).netloc)


def headers():
    # The client writes into what it is given.
    return {"Authorization": f"Bearer {key}"}



assert client.is_server_live() and client.is_server_ready()
assert client.get_server_metadata()["name"] == "threatwatch"
assert client.is_model_ready("threatwatch", headers=headers())
metadata = client.get_model_metadata("threatwatch", headers=headers())
assert metadata["inputs"][0]["datatype"] == "BYTES", metadata
version = metadata["versions"][0]
assert client.is_model_ready("threatwatch", version, headers=headers())
assert not client.is_model_ready("threatwatch", "20200101T000000Z-00000000", headers=headers())

texts = numpy.array(["I will come to your house and kill you.", "Nice song. \U0001f600"], dtype=object)
for is_binary in [True, False]:
    tensor = http.InferInput("text", [2], "BYTES")
    tensor.set_data_from_numpy(texts, binary_data=is_binary)
    wanted = [http.InferRequestedOutput(name, binary_data=is_binary) for name in ["probability", "label", "decision"]]
    for outputs in [None, wanted]:
        for asked in ["", version]:
            answer = client.infer("threatwatch", [tensor], asked, outputs, "mine", headers=headers())
            assert answer.get_response()["id"] == "mine"
            assert answer.get_response()["model_version"] == version
            probability = answer.as_numpy("probability")
            assert probability.dtype == numpy.float64 and probability.shape == (2,), probability
            assert probability[0] > 0.5 > probability[1], probability
            text = [value.decode() if isinstance(value, bytes) else value for value in answer.as_numpy("label")]
            assert text == ["threat", "harmless"], text


def refusal(*arguments, **named):
    try:
        client.infer(*arguments, **named)
    except InferenceServerException as error:
        return error.status(), error.message()
    raise AssertionError("it was not refused")


status, message = refusal("threatwatch", [tensor])
assert status == "401" and "key" in message, (status, message)
status, message = refusal("other", [tensor], headers=headers())
assert status == "404" and "threatwatch" in message, (status, message)
empty = http.InferInput("text", [1], "BYTES")
empty.set_data_from_numpy(numpy.array([" "], dtype=object))
status, message = refusal("threatwatch", [empty], headers=headers())
assert status == "422" and "position 1" in message, (status, message)

"""What tritonclient (2.73), pytriton (0.7, NeMo-Aligner's) and KServe's client send under /v2, and what they read."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib

import pytest

from service.errors import EngineFailure, TooLong
from tests.contract.test_classify_and_rerank import CHATML, native
from tests.fakes import FakeServedModel, fake_card

INFER = "/v2/models/reward_model/infer"
TEXTS = [CHATML, "own text"]
IDS = [[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]]
LENGTHS = [3, 5]


def sentences(texts=TEXTS, **changes):
    return {"name": "sentences", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts} | changes


def ids(rows=IDS, **changes):
    shape = [len(rows), len(rows[0])]
    return {"name": "tokens", "shape": shape, "datatype": "INT64", "data": rows} | changes


def lengths(values=LENGTHS, **changes):
    return {"name": "sequence_lengths", "shape": [len(values), 1], "datatype": "INT64", "data": values} | changes


def as_binary(tensor):
    """The tensor's JSON and its raw bytes, as the binary extension has them."""
    flat = [item for row in tensor["data"] for item in (row if isinstance(row, list) else [row])]
    if tensor["datatype"] == "BYTES":
        raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in flat)
    else:
        raw = struct.pack(f"<{len(flat)}q", *flat)
    head = {key: value for key, value in tensor.items() if key != "data"}
    return head | {"parameters": {"binary_data_size": len(raw)}}, raw


def binary_request(*tensors, **fields):
    """Body and headers of a request whose inputs and output are binary, as tritonclient makes it by default."""
    heads, raws = zip(*map(as_binary, tensors), strict=True)
    output = {"name": "rewards", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": heads, "outputs": [output]} | fields).encode()
    return head + b"".join(raws), {"Inference-Header-Content-Length": str(len(head))}


def binary_rewards(reply):
    head_length = int(reply.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(reply.content[:head_length])["outputs"]
    raw = reply.content[head_length:]
    assert output["parameters"]["binary_data_size"] == len(raw) == 4 * output["shape"][0]
    return list(struct.unpack(f"<{output['shape'][0]}f", raw))


async def expected_of_texts(client):
    return [await native(client), await native(client, rendered="own text")]


async def expected_of_ids(client):
    rows = [row[:length] for row, length in zip(IDS, LENGTHS, strict=True)]
    return [await native(client, prompt_ids=row[:-1], response_ids=row[-1:]) for row in rows]


@pytest.mark.parametrize(
    "data", [TEXTS, [[text] for text in TEXTS]], ids=["flat, as tritonclient sends it", "nested, as KServe may"]
)
async def test_sentences_in_json(serve, data):
    async with serve() as client:
        reply = await client.post(INFER, json={"id": "7", "inputs": [sentences(data=data)]})
        expected = await expected_of_texts(client)
    output = {"name": "rewards", "datatype": "FP32", "shape": [2, 1], "data": expected}
    assert reply.json() == {"model_name": "reward_model", "model_version": "1", "id": "7", "outputs": [output]}
    assert reply.headers["X-Score-Transform"] == "raw"


async def test_tokens_are_the_models_own_ids_without_their_padding(serve):
    async with serve() as client:
        reply = await client.post(INFER, json={"inputs": [lengths(), ids()]})
        assert reply.json()["outputs"][0]["data"] == await expected_of_ids(client)


async def test_the_same_floats_in_binary(serve):
    async with serve() as client:
        for inputs, expected in (
            ((sentences(),), await expected_of_texts(client)),
            ((ids(), lengths()), await expected_of_ids(client)),
        ):
            content, headers = binary_request(*inputs)
            reply = await client.post(INFER, content=content, headers=headers)
            assert reply.status_code == 200, reply.text
            assert binary_rewards(reply) == expected


async def test_binary_in_and_numbers_out_and_the_other_way_round(serve):
    content, headers = binary_request(sentences(), outputs=[{"name": "rewards", "parameters": {"binary_data": False}}])
    async with serve() as client:
        numbers = await client.post(INFER, content=content, headers=headers)
        raw = await client.post(INFER, json={"inputs": [sentences()], "parameters": {"binary_data_output": True}})
        expected = await expected_of_texts(client)
    assert numbers.json()["outputs"][0]["data"] == expected
    assert binary_rewards(raw) == expected


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_bodies(serve, encoding, compress):
    content, headers = binary_request(sentences())
    async with serve() as client:
        reply = await client.post(INFER, content=compress(content), headers=headers | {"Content-Encoding": encoding})
        assert binary_rewards(reply) == await expected_of_texts(client)


async def test_what_inflates_beyond_the_limit_is_refused(serve):
    bomb = gzip.compress(b" " * 1_000_000)
    async with serve(max_body_bytes=10_000) as client:
        reply = await client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
    assert (len(bomb) < 10_000, reply.status_code, "max_body_bytes" in reply.json()["error"]) == (True, 413, True)


async def test_an_empty_batch_gets_an_empty_output(serve):
    async with serve() as client:
        reply = await client.post(INFER, json={"inputs": [sentences([])]})
    assert (reply.json()["outputs"][0]["shape"], reply.json()["outputs"][0]["data"]) == ([0, 1], [])


async def test_what_pytriton_asks_before_it_sends_anything(serve):
    """Its order of calls: server ready, server live, model ready, model configuration."""
    async with serve() as client:
        for path in ("/v2/health/ready", "/v2/health/live", "/v2/models/reward_model/ready"):
            assert (await client.get(path)).status_code == 200
        config = (await client.get("/v2/models/reward_model/config")).json()
    assert (config["name"], config["max_batch_size"] > 0) == ("reward_model", True)
    assert [(tensor["name"], tensor["data_type"], tensor["dims"]) for tensor in config["input"]] == [
        ("sentences", "TYPE_STRING", [1]),
        ("tokens", "TYPE_INT64", [-1]),
        ("sequence_lengths", "TYPE_INT64", [1]),
    ]
    assert config["output"] == [{"name": "rewards", "data_type": "TYPE_FP32", "dims": [1]}]


async def test_kserves_client_reads_the_json(serve):
    async with serve() as client:
        replies = [
            (await client.get(path)).json()
            for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/demo/ready", "/v2", "/v2/models/demo")
        ]
    assert (replies[0]["live"], replies[1]["ready"]) == (True, True)
    assert replies[2] == {"name": "demo", "ready": True}
    assert "binary_tensor_data" in replies[3]["extensions"]
    assert replies[4]["outputs"] == [{"name": "rewards", "datatype": "FP32", "shape": [-1, 1]}]


async def test_a_model_that_cannot_score_is_not_ready(serve):
    async with serve(FakeServedModel(not_ready_because="the engine thread is dead")) as client:
        server = await client.get("/v2/health/ready")
        model = await client.get("/v2/models/reward_model/ready")
        (entry,) = (await client.post("/v2/repository/index", json={})).json()
    assert (server.status_code, model.status_code) == (503, 503)
    assert (server.json()["ready"], model.json()["ready"]) == (False, False)
    assert (entry["name"], entry["state"]) == ("demo", "UNAVAILABLE")


async def test_probes_need_no_key_and_scores_do(serve):
    async with serve(api_keys=("sesame",)) as client:
        probe = await client.get("/v2/health/ready")
        refused = await client.post(INFER, json={"inputs": [sentences()]})
        allowed = await client.post(f"{INFER}?key=sesame", json={"inputs": [sentences()]})
    assert (probe.status_code, refused.status_code, allowed.status_code) == (200, 401, 200)
    assert "API key" in refused.json()["error"]


async def test_names_and_versions(serve):
    body = {"inputs": [sentences(["a"])]}
    async with serve() as client:
        for path in ("/v2/models/any/infer", "/v2/models/an/organisations/versions/1/infer"):
            assert (await client.post(path, json=body)).status_code == 200
        missing = await client.post("/v2/models/any/versions/2/infer", json=body)
    async with serve(FakeServedModel(scores={0: 1.5}), FakeServedModel(fake_card("other"), scores={0: 2.5})) as client:
        scores = [
            (await client.post(f"/v2/models/{name}/infer", json=body)).json()["outputs"][0]["data"]
            for name in ("reward_model", "demo", "other")
        ]
        unknown = await client.post("/v2/models/third/infer", json=body)
    assert scores == [[1.5], [1.5], [2.5]]
    assert (missing.status_code, "allowed: 1" in missing.json()["error"]) == (404, True)
    assert (unknown.status_code, "third" in unknown.json()["error"]) == (404, True)


@pytest.mark.parametrize(("error", "status"), [(TooLong("too long"), 400), (EngineFailure("broke"), 503)])
async def test_a_bad_item_fails_the_request(serve, error, status):
    async with serve(FakeServedModel(errors={1: error})) as client:
        reply = await client.post(INFER, json={"inputs": [sentences()]})
    assert (reply.status_code, "item 1" in reply.json()["error"]) == (status, True)


BAD = {
    "no inputs": ({"inputs": []}, "allowed: sentences"),
    "both forms": ({"inputs": [sentences(), ids(), lengths()]}, "allowed: sentences"),
    "ids without lengths": ({"inputs": [ids()]}, "sequence_lengths"),
    "a length for another batch": ({"inputs": [ids(), lengths([3])]}, "a length for each row"),
    "a length beyond the row": ({"inputs": [ids(), lengths([3, 6])]}, "0 to 5"),
    "a negative length": ({"inputs": [ids(), lengths([3, -1])]}, "0 to 5"),
    "a shape that does not fit": ({"inputs": [sentences(shape=[3, 1])]}, "2 values"),
    "a negative shape": ({"inputs": [sentences(shape=[-2, -1])]}, "2 values"),
    "two texts a row": ({"inputs": [sentences(shape=[1, 2])]}, "[B, 1]"),
    "no dimension": ({"inputs": [sentences(shape=[], data="a")]}, "[B, 1]"),
    "numbers for texts": ({"inputs": [sentences(data=[1, 2])]}, "holds int"),
    "integers named so": ({"inputs": [sentences(datatype="INT64", data=[1, 2])]}, "allowed: BYTES"),
    "truth for ids": ({"inputs": [ids([[True]]), lengths([1])]}, "holds bool"),
    "floats for ids": ({"inputs": [ids(datatype="FP32"), lengths()]}, "INT64"),
    "nested beyond the shape": ({"inputs": [sentences(data=[[["a"]], [["b"]]])]}, "nested"),
    "another output": ({"inputs": [sentences()], "outputs": [{"name": "values"}]}, "allowed: rewards"),
    "shared memory": ({"inputs": [sentences(parameters={"shared_memory_region": "x"})]}, "shared_memory_region"),
    "a size of nothing": ({"inputs": [sentences(parameters={"binary_data_size": 9})]}, "0 bytes left"),
    "no list": ({"inputs": "sentences"}, "inputs"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_body_that_cannot_be_read_says_why(serve, case):
    body, words = BAD[case]
    async with serve() as client:
        reply = await client.post(INFER, json=body)
    assert (reply.status_code, list(reply.json())) == (400, ["error"])
    assert words in reply.json()["error"]


GOOD, GOOD_HEADERS = binary_request(sentences())


@pytest.mark.parametrize(
    ("content", "headers", "words"),
    [
        (GOOD, {}, "not"),
        (GOOD, {"Inference-Header-Content-Length": "x"}, "allowed: the length"),
        (GOOD, {"Inference-Header-Content-Length": "99999"}, "allowed: the length"),
        (GOOD + b"x", GOOD_HEADERS, "1 bytes are left"),
        (GOOD[:-1], GOOD_HEADERS, "bytes left"),
        (GOOD[:-1] + b"\xff", GOOD_HEADERS, "not UTF-8"),
        (GOOD, GOOD_HEADERS | {"Content-Encoding": "gzip"}, "not gzip"),
        (gzip.compress(GOOD)[:-9], GOOD_HEADERS | {"Content-Encoding": "gzip"}, "in the middle"),
        (GOOD, GOOD_HEADERS | {"Content-Encoding": "br"}, "allowed: gzip"),
    ],
)
async def test_bytes_that_cannot_be_read_say_why(serve, content, headers, words):
    async with serve() as client:
        reply = await client.post(INFER, content=content, headers=headers)
    assert reply.status_code == 400
    assert words in reply.json()["error"]


async def test_whatever_is_damaged_in_a_binary_body_it_is_read_or_refused_and_never_breaks(serve):
    rng = random.Random(7)
    content, headers = binary_request(ids(), lengths())
    statuses = set()
    async with serve() as client:
        for _ in range(300):
            damaged = bytearray(content)
            for _ in range(rng.randint(1, 4)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            cut = bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
            statuses.add((await client.post(INFER, content=cut, headers=headers)).status_code)
    assert statuses == {200, 400}

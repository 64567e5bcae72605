"""What the protocol reads, without a server: requests, packed bodies, configurations; and clients of another make."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_inference.openapi.client import InferenceRequest as Parameters
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.errors import BadRequestError, NotFoundError

from serving.parsing.malformed import TooLarge
from serving.protocol.answers import encode
from serving.protocol.compression import packed, unpacked, wanted
from serving.protocol.config_text import ConfigTextError, parse, parse_json
from serving.protocol.errors import InferenceRefused, NotOffered
from serving.protocol.shared_memory import Regions
from serving.protocol.tensors import StatedRequest
from tests.serving.plain_models import SIMPLE_CONFIG
from tests.serving.running import RunningServer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SIZES = st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20)}) | st.fixed_dictionaries(
    {"shared_memory_region": st.text(max_size=3) | JSON, "shared_memory_byte_size": st.integers(-1, 20) | JSON},
    optional={"shared_memory_offset": st.integers(-1, 20) | JSON},
)
NAMES = ("name", "shape", "datatype", "data", "parameters")
TENSOR = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)) | st.fixed_dictionaries(
    {
        "name": st.just("x"),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "datatype": st.sampled_from(["FP32", "BYTES", "BF16", "BOOL", "UINT64", "INT9"]),
    },
    optional={"data": JSON, "parameters": SIZES | JSON},
)
REQUEST = JSON | st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=2) | JSON},
    optional={"outputs": st.lists(TENSOR, max_size=2) | JSON, "parameters": JSON, "id": JSON},
)


@given(REQUEST, st.binary(max_size=24), st.booleans(), st.integers(-3, 3))
def test_whatever_arrives_is_a_request_or_refused(content: Any, raw: bytes, stated: bool, off: int) -> None:
    """No body makes the server fail: it is understood, or refused with a reason."""
    header = json.dumps(content).encode()
    with suppress(InferenceRefused, NotOffered, TooLarge):
        length = len(header) + off if stated else None
        stated = StatedRequest.parse(header + raw, header_length=length)
        stated.check_sizes(model="m")
        wish = stated.read(Regions(), model="m")
        outputs = {name: tensor.array for name, tensor in wish.inputs.items()}
        assert encode({}, outputs, wish, regions=Regions())[0]


def test_bodies_are_packed_and_unpacked() -> None:
    """gzip, and deflate with zlib's wrapper; cut off, of another kind or larger than allowed, they are refused."""
    body, told = b"slices" * 1_000_000, list[int]()

    def at_most(most: int) -> Callable[[int], None]:
        def take(size: int) -> None:
            told.append(size)
            if sum(told) > most:
                raise TooLarge

        return take

    for coding in ("gzip", "deflate"):
        told.clear()
        assert unpacked(packed(body, wanted(f"{coding};q=1") or "gzip"), coding, take=at_most(len(body))) == body
        for bad, said in ((packed(body, "gzip")[:-9], "ends in the middle"), (b"no", "the body is no")):
            with pytest.raises(InferenceRefused, match=said):
                unpacked(bad, coding, take=lambda size: None)
        told.clear()
        with pytest.raises(TooLarge):
            unpacked(packed(body, "gzip"), coding, take=at_most(100))
        assert sum(told) <= 1 << 20
    assert (gzip.decompress(packed(body, "gzip")), zlib.decompress(packed(body, "deflate"))) == (body, body)
    assert unpacked(body, "", take=at_most(0)) == body
    assert [wanted(said) for said in ("", "gzip, deflate, br", "deflate")] == [None, None, "deflate"]
    with pytest.raises(InferenceRefused, match="known are gzip and deflate"):
        unpacked(body, "br", take=at_most(0))


def test_a_configuration_is_read_without_its_schema() -> None:
    """Commas, colons, comments and brackets wherever protocol buffers allow them; the same from JSON."""
    read = parse(SIMPLE_CONFIG)
    assert (read["name"], read["max_batch_size"]) == (["simple"], [8])
    first = {"name": ["INPUT0"], "data_type": ["TYPE_INT32"], "dims": [16]}
    assert read["input"][0] == first and [output["name"] for output in read["output"]] == [["OUTPUT0"], ["OUTPUT1"]]
    assert parse("a < b: -1.5e3 > a { c: [true, 0x10] } s: 'it\\'s' # end") == {
        "a": [{"b": [-1500.0]}, {"c": [True, 16]}],
        "s": ["it's"],
    }
    assert parse_json('{"input": [{"name": "INPUT0", "data_type": "TYPE_INT32", "dims": [16]}]}')["input"] == [first]
    for bad in ("a: {", "a: [1", "a: ]", "1: a", "a: ^", "a: 1.2.3", "a: '\\x'", "a: [" * 50, "a {" * 50):
        with pytest.raises(ConfigTextError):
            parse(bad)


@given(st.text(alphabet="ab:{}[]<>\"'\\x1.-, \n#", max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    """It is a configuration, or it is refused."""
    with suppress(ConfigTextError):
        parse(text)


def test_the_client_made_from_the_protocols_own_description(server: RunningServer) -> None:
    """Health, metadata, inference and errors through open-inference-openapi."""
    with httpx.Client(timeout=60) as http:
        client = OpenInferenceClient(base_url=server.url, httpx_client=http)
        client.check_server_liveness()
        client.check_server_readiness()
        client.check_model_readiness("thresholds")
        client.check_model_version_readiness("thresholds", "1")
        assert client.read_server_metadata().name == "triton"
        assert [tensor.name for tensor in client.read_model_metadata("thresholds").inputs or []] == ["slices", "window"]
        slices = {"name": "slices", "shape": [1, 2, 2], "datatype": "FP32", "data": [[[0.0, 50.0], [60.0, 100.0]]]}
        window = {"name": "window", "shape": [1, 2], "datatype": "FP32", "data": [[0.0, 100.0]]}
        answer = client.model_infer("thresholds", request=Parameters(id="5", inputs=[slices, window]))
        assert (answer.id, answer.outputs[0].shape) == ("5", [1, 2, 2])
        np.testing.assert_array_equal(np.ravel(answer.outputs[0].data.__root__), [0, 1, 1, 2])
        with pytest.raises(NotFoundError):
            client.check_model_readiness("wrong")
        with pytest.raises(BadRequestError):
            client.model_infer("thresholds", request=Parameters(inputs=[slices]))


@pytest.mark.parametrize("parser", [parse, parse_json])
def test_a_configuration_of_absurd_length_is_refused_unread(parser):
    """A megabyte is far more than any has."""
    with pytest.raises(ConfigTextError, match="at most 1048576 are read"):
        parser(" " * (1 << 20) + "{}")

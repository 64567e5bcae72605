"""Single slices over the Open Inference Protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from harness.offline import run_offline
from scans.intensity import Window
from tests.serving.running import RunningServer

INFER = "/v2/models/thresholds/infer"
SLICES = np.arange(2 * 5 * 7, dtype=np.int16).reshape(2, 5, 7)
WINDOW = np.array([[0, 100], [0, 70]], np.float32)


def expected(model_dir: Path) -> np.ndarray:
    windows = [Window(float(low), float(high)) for low, high in WINDOW]
    slices = SLICES.astype(np.float32)
    return np.concatenate([run_offline(model_dir, slices[n : n + 1], window) for n, window in enumerate(windows)])


def described(name: str, array: np.ndarray, datatype: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": datatype, **more}


BOTH = [
    described("slices", SLICES, "INT16", data=SLICES.ravel().tolist()),
    described("window", WINDOW, "FP32", data=WINDOW.tolist()),
]


def test_json_and_binary_answer_alike(server: RunningServer, model_dir: Path) -> None:
    """Each slice through its own window, exactly as ONNX Runtime alone says, whichever way it is asked."""
    plain = server.http.post(server.url + INFER, json={"inputs": BOTH, "id": "7"}).json()
    assert (plain["model_name"], plain["model_version"], plain["id"]) == ("thresholds", "1", "7")
    (output,) = plain["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("segmentation", "UINT8", [2, 5, 7])
    np.testing.assert_array_equal(np.array(output["data"]).reshape(2, 5, 7), expected(model_dir))
    answer = binary(server, wanted=[{"name": "segmentation", "parameters": {"binary_data": True}}])
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 70}
    np.testing.assert_array_equal(
        np.frombuffer(answer.content[length:], np.uint8).reshape(2, 5, 7), expected(model_dir)
    )


def test_slices_that_were_answered_fill_no_log(server: RunningServer) -> None:
    """Those that were refused are in it."""
    for asked_as, inputs, status in (("fine", BOTH, 200), ("wrong", BOTH[:1] * 2, 400)):
        answer = server.http.post(server.url + INFER, json={"inputs": inputs}, headers={"X-Request-ID": asked_as})
        assert answer.status_code == status
    server.until(lambda: "request=wrong" in server.log)  # a line is written when its answer is out
    assert "request=fine" not in server.log


def binary(server: RunningServer, *, wanted: list[dict[str, Any]], cut: int = 0) -> httpx.Response:
    parts = [SLICES.astype("<i2").tobytes(), WINDOW.astype("<f4").tobytes()]
    inputs = [
        described("slices", SLICES, "INT16", parameters={"binary_data_size": len(parts[0])}),
        described("window", WINDOW, "FP32", parameters={"binary_data_size": len(parts[1])}),
    ]
    header = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
    body = header + b"".join(parts)
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return server.http.post(server.url + INFER, content=body[: len(body) - cut], headers=headers)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": []}, "missing required input(s) ['slices', 'window']"),
        ({"inputs": "slices"}, "no list of inputs"),
        ({"inputs": [{"name": "slices"}]}, "name, shape and datatype"),
        ({"inputs": [described("slices", SLICES, "INT9", data=[])]}, "datatype 'INT9'"),
        ({"inputs": [described("slices", SLICES, "INT16", data=[1, 2]), BOTH[1]]}, "input 'slices': 2 values"),
        (
            {"inputs": [described("slices", SLICES, "INT16", data=SLICES.ravel().tolist())]},
            "required input(s) ['window']",
        ),
        ({"inputs": BOTH, "outputs": [{"name": "magic"}]}, "unexpected inference output 'magic'"),
        ({"inputs": [BOTH[0], {**BOTH[1], "data": [[5, 5], [0, 1]]}]}, "lower < upper, for each slice"),
        ({"inputs": [BOTH[0], {**BOTH[1], "shape": [1, 2], "data": [0, 1]}]}, "for each slice: shape [2,2]"),
        ({"inputs": [*BOTH, BOTH[0]]}, "input 'slices' already exists"),
        ({"inputs": [*BOTH, {**BOTH[0], "name": "more"}]}, "unexpected inference input 'more'"),
        ({"inputs": [{**BOTH[0], "shape": [70]}, BOTH[1]]}, "Expected [-1,-1,-1], got [70]"),
        ({"inputs": [{**BOTH[0], "datatype": "BOOL"}, BOTH[1]]}, "data-type is 'BOOL'"),
        (
            {"inputs": [{**BOTH[0], "parameters": {"shared_memory_region": "r"}}]},
            "shared_memory_byte_size and shared_memory_offset are numbers of bytes",
        ),
        (
            {"inputs": BOTH, "outputs": [{"name": "segmentation", "parameters": {"classification": 3}}]},
            "classification",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_in_the_protocols_shape(
    server: RunningServer, change: dict[str, Any], said: str
) -> None:
    """400 with an error that says what would be right."""
    answer = server.http.post(server.url + INFER, json=change)
    assert answer.status_code == (400)
    assert said in answer.json()["error"]


def test_bytes_that_are_missing_or_too_many_are_refused(server: RunningServer) -> None:
    """A body cut off, and another model's name."""
    assert "input 'window' for model 'thresholds'. Expected 16, got 13" in binary(server, wanted=[], cut=3).text
    for path, model in (("other", "'other'"), ("thresholds/versions/7", "'thresholds' version 7")):
        other = server.http.post(f"{server.url}/v2/models/{path}/infer", json={"inputs": []})
        assert (other.status_code, other.json()["error"]) == (404, f"Request for unknown model: {model} is not found")

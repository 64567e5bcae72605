"""Weights: a request of /v2 takes memory by what it weighs, bounded before it is taken."""

from __future__ import annotations

import gzip
import io
import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from onnx import TensorProto

from harness.offline import run_offline
from scans.intensity import Window
from scans.model.manifest import MODEL_FILE
from serving.inference.runtime.footprint import pixel_bytes
from tests.serving.in_process import Answered, App, running_app
from tests.serving.plain_models import identity, place

LEAST_TILE = 576
MEGABYTES = 1 << 20


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[App]:
    """Slices may take as much as one of 700 x 700 pixels does."""
    folder = tmp_path_factory.mktemp("weights")
    place(identity(TensorProto.STRING), folder / "repository" / "strings")
    most = 704 * 704 * pixel_bytes(model_dir / MODEL_FILE)
    with running_app(
        folder, model_dir, model_repository=str(folder / "repository"), slice_memory_bytes=most
    ) as running:
        yield running


def infer(app: App, model: str, document: bytes, *, raw: bytes = b"", packed: bool = False) -> Answered:
    headers = [(b"inference-header-content-length", str(len(document)).encode())] if raw else []
    body = document + raw
    if packed:
        headers.append((b"content-encoding", b"gzip"))
        body = gzip.compress(body)
    return app.ask("POST", f"/v2/models/{model}/infer".encode(), headers=headers, body=body)


def strings(shape: list[int], **stated: Any) -> bytes:
    return json.dumps({"inputs": [{"name": "INPUT", "shape": shape, "datatype": "BYTES", **stated}]}).encode()


@pytest.mark.parametrize(
    ("piece", "times"), [(b"[],", 10_000_000), (b"{},", 10_000_000), (b"1,", 10_000_000), (b'"",', 10_000_000)]
)
def test_what_packs_well_is_refused_before_it_is_unpacked_into_objects(app: App, piece: bytes, times: int) -> None:
    """Lists, objects, numbers and strings that 30 KB hold ten million of: 413, and nowhere near their memory."""
    body = gzip.compress(b'{"inputs":[' + piece * times + b"0]}")
    assert len(body) < 100_000
    tracemalloc.start()
    answer = app.ask("POST", b"/v2/models/strings/infer", headers=[(b"content-encoding", b"gzip")], body=body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status == 413 and "are taken" in answer.json()["error"]
    assert peak < 150 * MEGABYTES


def test_empty_strings_weigh_something(app: App) -> None:
    """Ten million of them in four bytes each are refused; those that are more than the shape says are not unpacked."""
    raw = b"\0" * 40_000_000
    many = strings([10_000_000], parameters={"binary_data_size": len(raw)})
    few = strings([1], parameters={"binary_data_size": len(raw)})
    assert infer(app, "strings", many, raw=raw, packed=True).status == 413
    tracemalloc.start()
    assert infer(app, "strings", few, raw=raw, packed=True).status == 400
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150 * MEGABYTES


@pytest.mark.slow
def test_a_body_that_unpacks_to_more_than_is_taken(app: App) -> None:
    """It is not unpacked any further than that."""
    body = gzip.compress(b" " * (257 * MEGABYTES))
    answer = app.ask("POST", b"/v2/models/strings/infer", headers=[(b"content-encoding", b"gzip")], body=body)
    assert 400 <= answer.status < 500 and "bytes" in answer.json()["error"]


def test_as_many_tensors_as_a_model_may_have(app: App) -> None:
    """And no more: of inputs and of outputs."""
    tensors = [{"name": f"t{number}"} for number in range(2000)]
    for document in ({"inputs": tensors}, {"inputs": [], "outputs": tensors}):
        assert infer(app, "strings", json.dumps(document).encode()).status == 413


def sliced(app: App, grey: np.ndarray, *outputs: str) -> Answered:
    window = np.array([[0, 100]], np.float32)
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": kind, "parameters": {"binary_data_size": array.nbytes}}
        for name, array, kind in (("slices", grey, "UINT8"), ("window", window, "FP32"))
    ]
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    document = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
    return infer(app, "thresholds", document, raw=grey.tobytes() + window.tobytes())


def test_a_slice_that_would_take_more_goes_in_tiles(app: App, model_dir: Path) -> None:
    """1500 x 900 pixels where 704 x 704 may go through at once: the answer is that of the whole slice."""
    grey = np.random.default_rng(1).integers(0, 120, (1, 1500, 900)).astype(np.uint8)
    answer = sliced(app, grey, "segmentation")
    assert answer.status == 200, answer
    found = np.frombuffer(answer.body[int(answer.headers["inference-header-content-length"]) :], np.uint8)
    expected = run_offline(model_dir, grey.astype(np.float32), Window(0, 100))
    np.testing.assert_array_equal(found.reshape(grey.shape), expected)


def test_what_cannot_go_in_tiles_is_refused_with_the_limit(app: App) -> None:
    """A confidence of more pixels than go through at once, a slice of more than are taken at all, JSON of too many."""
    grey = np.zeros((1, 1500, 900), np.uint8)
    for answer, said in (
        (sliced(app, grey, "segmentation", "confidence"), "RICEFISH_SLICE_MEMORY_BYTES"),
        (sliced(app, np.zeros((1, 8192, 4097), np.uint8), "segmentation"), "33554432 pixels"),
        (sliced(app, np.zeros((5, 1024, 1024), np.uint8)), "2097152 are answered in JSON"),
    ):
        assert answer.status == 413 and said in answer.json()["error"], answer


def test_a_line_of_pixels_weighs_what_a_network_makes_of_it(app: App) -> None:
    """A slice of 40,000 x 1 pixels is padded to 32 times as many, which are not computed at once."""
    assert sliced(app, np.zeros((1, 40_000, 1), np.uint8), "segmentation").status == 200
    assert sliced(app, np.zeros((1, 40_000, 1), np.uint8), "segmentation", "confidence").status == 413
    for shape in ((1, 1, (1 << 20) + 1), (1, (1 << 20) + 1, 1)):
        answer = sliced(app, np.zeros(shape, np.uint8), "segmentation")
        assert answer.status == 413 and "33554432 pixels" in answer.json()["error"], answer


def organs_of(app: App, scan: bytes) -> list[int]:
    """Voxels of each, once it is finished."""
    here = app.ask("POST", b"/v1/scans?filename=a.tif&spacing=1,1,1", body=scan).json()["links"]["self"]
    while app.ask("GET", here.encode()).json()["state"] in ("queued", "running"):
        time.sleep(0.05)
    return [organ["voxels"] for organ in app.ask("GET", f"{here}/organs".encode()).json()["organs"]]


@pytest.mark.process
def test_a_scan_whose_slices_would_take_more_goes_in_tiles(app: App, tmp_path: Path, model_dir: Path) -> None:
    """Of 1500 x 1100 pixels, where no more than 1024 x 1024 may go through at once: as if they went as a whole."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.tile(np.arange(100, dtype=np.uint8), (2, 1500, 11)), photometric="minisblack")
    shapes: list[tuple[int, ...]] = []
    with running_app(tmp_path, model_dir, scan_memory_bytes=1) as small:
        runtime = small.resources.models.current.runtime
        object.__setattr__(runtime, "_segmenting", Watched(runtime._segmenting, shapes))
        assert organs_of(small, file.getvalue()) == organs_of(app, file.getvalue())
    assert shapes and max(n * y * x for n, y, x in shapes) <= 1024 * 1024


class Watched:
    """A session, and the shapes that it was run on."""

    def __init__(self, session: Any, shapes: list[tuple[int, ...]]) -> None:
        self._session = session
        self._shapes = shapes

    def run(self, outputs: Any, feed: Any) -> Any:
        self._shapes.append(feed["slices"].shape)
        return self._session.run(outputs, feed)


def test_a_model_too_heavy_for_the_smallest_tile_is_not_tried(tmp_path: Path, model_dir: Path) -> None:
    """Small slices are answered, those that would need tiles are refused with the setting that would help."""
    with running_app(tmp_path, model_dir, slice_memory_bytes=100 * 128 * 128) as app:
        assert sliced(app, np.zeros((1, 32, 32), np.uint8), "segmentation").status == 200
        answer = sliced(app, np.zeros((1, LEAST_TILE + 1, 32), np.uint8), "segmentation")
        assert answer.status == 413 and "RICEFISH_SLICE_MEMORY_BYTES" in answer.json()["error"]

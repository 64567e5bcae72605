"""Several models side by side: each request says which one it wants."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ricefish.client import Client
from scans.model.manifest import ModelManifest
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.served import ModelError, ModelNotServed, Models
from tests.serving.conftest import Example
from tests.serving.models import write_model
from tests.serving.running import RunningServer


def _named(folder: Path, name: str, *, thresholds: tuple[float, float]) -> Path:
    write_model(folder, thresholds=thresholds)
    dataclasses.replace(ModelManifest.read(folder), name=name).write(folder)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[RunningServer]:
    """A server of two models, `coarse` by default, and `fine`, which calls everything an eye or a heart."""
    folder = tmp_path_factory.mktemp("both")
    coarse = _named(folder / "coarse", "coarse", thresholds=(0.4, 0.7))
    fine = _named(folder / "fine", "fine", thresholds=(-1.0, 0.7))
    server = RunningServer(folder, coarse, more_models=json.dumps([str(fine)]), source_roots=json.dumps([str(folder)]))
    try:
        yield server.start()
    finally:
        server.end()


def _background(server: RunningServer, scan: dict[str, Any]) -> bool:
    """Whether a finished scan has any."""
    assert server.until_ended(scan["id"])["state"] == "succeeded"
    organs = server.get(f"/v1/scans/{scan['id']}/organs").json()["organs"]
    z, y, x = scan["shape"]
    return bool(sum(organ["voxels"] for organ in organs) < z * y * x)


def test_all_are_listed(both: RunningServer) -> None:
    """With hash, reference, precision and the time since when; the default is the one without a choice."""
    models = both.get("/v1/models").json()["models"]
    assert [(one["name"], one["default"], one["precision"]) for one in models] == [
        ("coarse", True, "float32"),
        ("fine", False, "float32"),
    ]
    assert models[0]["reference"] == str(both.model)
    assert models[0]["followed"] is None
    assert both.get("/v1/model").json()["sha256"] == models[0]["sha256"] != models[1]["sha256"]


def test_a_scan_names_its_model(both: RunningServer, example: Example) -> None:
    """In the query, in a form and in JSON; the answer says which one it is, and the result is that one's."""
    content = example.path.read_bytes()
    form = both.http.post(
        f"{both.url}/v1/scans", files={"file": ("fish.nii.gz", content)}, data={"model": "fine", "fresh": "true"}
    )
    where = both.store.parent / "fish.nii.gz"
    where.write_bytes(content)
    source = {"source": {"uri": where.as_uri()}, "model": "fine", "version": "1", "fresh": True}
    answers = [
        both.post(example.path, "fish.nii.gz", model="fine"),
        form,
        both.http.post(f"{both.url}/v1/scans", json=source),
    ]
    for answer in answers:
        assert answer.status_code == 202, answer.text
        assert answer.json()["model"]["name"] == "fine"
        assert not _background(both, answer.json())
    default = both.post(example.path, "fish.nii.gz").json()
    assert default["model"]["name"] == "coarse"
    assert _background(both, default)


def test_the_same_file_is_another_scan_for_another_model(both: RunningServer, example: Example) -> None:
    """What was segmented by one model is no answer for the other; an Idempotency-Key stands for one of them."""
    first = both.post(example.path, "fish.nii.gz", fresh="false", key="one key")
    both.until_ended(first.json()["id"])
    other = both.post(example.path, "fish.nii.gz", fresh="false", model="fine")
    assert other.json()["id"] != first.json()["id"]
    assert both.post(example.path, "fish.nii.gz", fresh="false", model="coarse").json()["id"] == first.json()["id"]
    reused = both.post(example.path, "fish.nii.gz", fresh="false", key="one key", model="fine")
    assert (reused.status_code, reused.json()["type"]) == (409, "urn:ricefish:problem:key-reused")


@pytest.mark.parametrize("query", [{"model": "other"}, {"model": "fine", "version": "2"}, {"version": "7"}])
def test_a_model_that_is_not_served_is_refused(both: RunningServer, example: Example, query: dict[str, str]) -> None:
    """404 that names those that are, before the file has been read."""
    answer = both.post(example.path, "fish.nii.gz", **query)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:ricefish:problem:no-such-model")
    assert "there is coarse version 1, fine version 1" in answer.json()["detail"]


def test_single_slices_choose_by_path(both: RunningServer) -> None:
    """/v2/models/NAME answers with that model."""
    inputs = [
        {"name": "slices", "shape": [1, 2, 2], "datatype": "FP32", "data": [0.0] * 4},
        {"name": "window", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 100.0]},
    ]
    for name, expected in (("coarse", 0), ("fine", 1)):
        answer = both.http.post(f"{both.url}/v2/models/{name}/infer", json={"inputs": inputs}).json()
        assert answer["model_name"] == name
        assert np.unique(answer["outputs"][0]["data"]).tolist() == [expected]


def test_the_client_names_the_model(both: RunningServer, example: Example) -> None:
    """Sent at once or resumably."""
    for most in (64_000_000, 0):
        with Client(both.url, resumable_bytes=most) as client:
            scan = client.submit(example.path, model="fine", version="1", fresh=True)
            assert scan.model == "fine"


def _models(tmp_path: Path) -> Models:
    return Models(
        tmp_path / "kept", device="cpu", tuner=Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=4))
    )


def test_two_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    """The message names both."""
    first, second = write_model(tmp_path / "first"), write_model(tmp_path / "second", thresholds=(0.1, 0.2))
    with pytest.raises(ModelError, match=r"first and .*second both hold a model thresholds version 1"):
        _models(tmp_path).serve(str(first), str(second))


def test_a_model_is_found_by_name_and_version(tmp_path: Path) -> None:
    """Without a name it is the default's; without a version the present one."""
    models = _models(tmp_path)
    with pytest.raises(ModelNotServed, match="there is none"):
        models.find()
    first = _named(tmp_path / "first", "first", thresholds=(0.1, 0.2))
    second = _named(tmp_path / "second", "second", thresholds=(0.1, 0.3))
    models.serve(str(first), str(second))
    assert models.find().identity.name == "first"
    assert models.find("second").identity.name == "second"
    assert models.find("second", "1") is models.served()[1]
    assert models.find(version="1").identity.name == "first"
    with pytest.raises(ModelNotServed, match="model third version any is not served; there is first version 1, second"):
        models.find("third")

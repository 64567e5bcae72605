"""A server follows an alias: new versions are put in place under load, and what is not right is not."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scans.model.manifest import MODEL_FILE, ModelManifest, file_sha256
from tests.serving.loads import load
from tests.serving.models import threshold_model, write_model
from tests.serving.registries import CHAMPION, SmallRegistry, sqlite_registry
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

FIRST, SECOND = (0.4, 0.7), (0.2, 0.5)
SWAPS = 'ricefish_model_swaps_total{model="ricefish"}'


@dataclasses.dataclass
class Following:
    """A server that follows the champion, two models, and the registry that they are in."""

    server: RunningServer
    registry: SmallRegistry
    models: dict[str, Path]
    """Folders by version."""
    folder: Path
    _before: str = ""

    def begin(self) -> None:
        """The champion is version 1, and nothing is wrong."""
        self.registry.point("1")
        self.server.until(lambda: self.place()["version"] == "1" and self.place()["followed"]["refusal"] is None)
        self._before = self.server.log

    @property
    def log(self) -> str:
        """Since it began."""
        return self.server.log.removeprefix(self._before)

    def place(self) -> dict[str, Any]:
        place: dict[str, Any] = self.server.get("/v1/models").json()["models"][0]
        return place

    def refusal(self) -> dict[str, Any] | None:
        refusal: dict[str, Any] | None = self.place()["followed"]["refusal"]
        return refusal

    def until_served(self, version: str) -> None:
        self.server.until(lambda: self.place()["version"] == version)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.server.get("/metrics").text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Following]:
    folder = tmp_path_factory.mktemp("following")
    with pytest.MonkeyPatch.context() as monkeypatch:
        registry = sqlite_registry(folder, monkeypatch)
        folders = [write_model(folder / f"model-{n}", rounds=4, thresholds=t) for n, t in enumerate((FIRST, SECOND))]
        models = {registry.register(folder): folder for folder in folders}
        registry.point("1")
        server = RunningServer(folder, CHAMPION, slab_slices=4, follow_seconds=0.2)
        try:
            yield Following(server.start(), registry, models, folder)
        finally:
            server.end()


@pytest.fixture
def following(begun: Following) -> Following:
    begun.begin()
    return begun


def test_the_champion_moves_under_load(following: Following) -> None:
    """Six moves to and fro, under single slices and scans: none fails, and none mixes two versions."""
    swaps = following.metric(SWAPS)
    with load(following.server.url, following.models) as clients:
        for turn in range(6):
            version = "21"[turn % 2]
            following.registry.point(version)
            following.until_served(version)
            clients.until_answered(version, slices=5, scans=1)
    assert clients.faults == []
    assert set(clients.slices) == set(clients.scans) == {"1", "2"}
    assert following.metric(SWAPS) - swaps == 6
    assert following.server.get("/v1/model").json()["version"] == "1"
    assert following.log.count("event=model_loaded ") <= 1, "what was in place before is put back as it is"


def _wrong_hash(folder: Path) -> None:
    with (folder / MODEL_FILE).open("ab") as file:
        file.write(b"\0")


def _wrong_golden(folder: Path) -> None:
    golden = ModelManifest.read(folder).golden
    answer = golden.segmentation.copy()
    answer[:, :5] = 2
    _rewritten(folder, golden=dataclasses.replace(golden, segmentation=answer))


def _other_contract(folder: Path) -> None:
    _rewritten(folder, slice_axis=2)


def _too_large(folder: Path) -> None:
    """It asks for 2 ** 52 bytes on the way."""
    model = threshold_model(rounds=0, thresholds=FIRST)
    nodes = [
        helper.make_node("Expand", ["score", "vast"], ["vast_score"]),
        helper.make_node("ReduceMax", ["vast_score", "first_axis"], ["confidence"], keepdims=0),
    ]
    kept = [node for node in model.graph.node if node.output[0] not in ("confidence", "segmentation")]
    seen = helper.make_node("Greater", ["confidence", "threshold_0"], ["seen"])
    last = helper.make_node("Cast", ["seen"], ["segmentation"], to=TensorProto.UINT8)
    del model.graph.node[:]
    model.graph.node.extend([*kept, *nodes, seen, last])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1 << 50, 1, 1, 1], dtype=np.int64), "vast"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], dtype=np.int64), "first_axis"))
    onnx.save(model, folder / MODEL_FILE)
    _rewritten(folder, model_sha256=file_sha256(folder / MODEL_FILE))


def _rewritten(folder: Path, **changes: object) -> None:
    dataclasses.replace(ModelManifest.read(folder), **changes).write(folder)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (_wrong_hash, "hash", "has SHA-256"),
        (_wrong_golden, "golden", "does not reproduce its golden slice"),
        (_other_contract, "contract", "slice_axis is 2"),
        (_too_large, "device", "does not fit the device"),
    ],
)
def test_a_version_that_is_not_right_is_refused(
    following: Following, damage: Callable[[Path], None], reason: str, detail: str
) -> None:
    """Once, aloud, and with its reason; the one before serves on, and what comes next is put in place."""
    refused = f'ricefish_model_refusals_total{{model="ricefish",reason="{reason}"}}'
    failed = 'ricefish_inference_failures_total{urgency="interactive"}'
    before = following.metric(refused), following.metric(failed)
    folder = write_model(following.folder / f"damaged-{reason}", thresholds=(0.1, 0.9))
    damage(folder)
    version = following.registry.register(folder)
    with load(following.server.url, following.models) as clients:
        following.registry.point(version)
        following.server.until(lambda: following.refusal() is not None)
        clients.until_answered("1", slices=20, scans=2)
    assert clients.faults == []
    assert set(clients.slices) == set(clients.scans) == {"1"}
    place = following.place()
    refusal = place["followed"]["refusal"]
    assert (place["version"], refusal["version"], refusal["reason"], refusal["retry"]) == ("1", version, reason, None)
    assert detail in refusal["detail"]
    assert following.log.count("event=model_refused") == 1
    assert (following.metric(refused), following.metric(failed)) == (before[0] + 1, before[1])
    following.registry.point("2")
    following.until_served("2")
    following.server.until(lambda: following.refusal() is None)


def test_a_version_whose_files_are_gone_is_refused(following: Following) -> None:
    """A registry that names a version and has lost its model is no reason to stop."""
    folder = write_model(following.folder / "lost", thresholds=(0.3, 0.35))
    version = following.registry.register(folder)
    for stored in list((following.folder / "artifacts").rglob(MODEL_FILE)):
        if file_sha256(stored) == file_sha256(folder / MODEL_FILE):
            shutil.rmtree(stored.parent)
    following.registry.point(version)
    following.server.until(lambda: following.refusal() is not None)
    refusal = following.refusal()
    assert refusal is not None
    assert (refusal["version"], refusal["reason"]) == (version, "registry")
    assert following.place()["version"] == "1"


def test_an_alias_that_is_removed_changes_nothing(following: Following) -> None:
    """The version that it named serves on; that there is no such alias is said, and logged once; it can come back."""
    following.registry.forget()
    following.server.until(lambda: following.place()["followed"]["trouble"] is not None)
    for _ in range(3):
        before = following.place()["followed"]["registry_reached"]
        following.server.until(lambda: following.place()["followed"]["registry_reached"] != before)  # noqa: B023
    assert following.log.count("event=alias_not_there") == 1
    place = following.place()
    assert place["version"] == "1"
    assert place["followed"]["registry_up"] is True
    assert "alias champion not found" in place["followed"]["trouble"]
    assert following.server.get("/health/ready").status_code == 200
    following.registry.point("2")
    following.until_served("2")
    following.server.until(lambda: following.place()["followed"]["trouble"] is None)


def test_a_refused_version_does_not_keep_a_server_from_starting(following: Following) -> None:
    """Started anew while the alias names a damaged version, it serves the last one that was right."""
    folder = write_model(following.folder / "damaged", thresholds=(0.1, 0.85))
    _wrong_golden(folder)
    following.registry.point(following.registry.register(folder))
    following.server.until(lambda: following.refusal() is not None)
    following.server.end()
    following.server.start()
    place = following.place()
    assert (place["version"], place["from_cache"]) == ("1", True)
    assert place["followed"]["refusal"]["reason"] == "golden"
    following.registry.point("2")
    following.until_served("2")
    assert following.place()["from_cache"] is False

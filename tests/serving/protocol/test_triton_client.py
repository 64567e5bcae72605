"""Triton's own client, unchanged, against a server with a segmentation model and plain models beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from harness.offline import run_offline
from scans.intensity import Window
from tests.serving.plain_models import SIMPLE_CONFIG, add_sub, identity, place
from tests.serving.running import RunningServer

FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.full((1, 16), 3, np.int32)
SLICES = (np.arange(9 * 40 * 48) % 256).astype(np.float32).reshape(9, 40, 48)
"""More than the four of this size that go through the model at once."""
WINDOWS = np.tile(np.array([[0, 250]], np.float32), (9, 1))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    place(add_sub(), folder / "simple", config=SIMPLE_CONFIG)
    place(add_sub(batch=1), folder / "fixed", version=None)
    place(add_sub(), folder / "versions", version="2")
    place(add_sub(minus="Mul"), folder / "versions", version="10")
    place(identity(TensorProto.STRING), folder / "words")
    place(identity(TensorProto.FLOAT16), folder / "halves")
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    return folder


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, model_dir: Path, repository: Path, processes: None
) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("server"), model_dir, model_repository=repository)
    yield server.start()
    server.end()


@pytest.fixture
def client(running: RunningServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(running.url.removeprefix("http://"), concurrency=4) as client:
        yield client


def given(name: str, array: NDArray[Any], datatype: str, *, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def pair(*, binary: tuple[bool, bool] = (True, True), rows: int = 1) -> list[triton.InferInput]:
    arrays = (np.repeat(FIRST, rows, axis=0), np.repeat(SECOND, rows, axis=0))
    return [given(f"INPUT{n}", arrays[n], "INT32", binary=binary[n]) for n in (0, 1)]


def sliced(*, binary: bool = True) -> list[triton.InferInput]:
    return [given("slices", SLICES, "FP32", binary=binary), given("window", WINDOWS, "FP32", binary=binary)]


def wanted(*names: str, binary: bool = True) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    """Live, ready, and described as Triton does; a model that is not there is said to be unknown, in its words."""
    assert client.is_server_live(query_params={"test_1": 1}) and client.is_server_ready()
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1")
    assert not client.is_model_ready("simple", "2") and not client.is_model_ready("wrong_model_name")
    server = client.get_server_metadata()
    assert server["name"] == "triton" and "statistics" in server["extensions"]
    assert not {"cuda_shared_memory", "trace", "classification"} & set(server["extensions"])
    described = client.get_model_metadata("simple", query_params={"test_1": 1})
    assert described["inputs"] == [
        {"name": name, "datatype": "INT32", "shape": [-1, 16]} for name in ("INPUT0", "INPUT1")
    ]
    assert (described["name"], described["versions"], described["platform"]) == ("simple", ["1"], "onnxruntime_onnx")
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'wrong_model_name' is not found"):
        client.get_model_metadata("wrong_model_name")


def test_a_segmentation_model_is_described_too(client: triton.InferenceServerClient) -> None:
    """Its sides are dynamic; its configuration leaves the batch out of the dimensions."""
    described = client.get_model_metadata("thresholds")
    assert [(o["name"], o["datatype"], o["shape"]) for o in described["outputs"]] == [
        ("segmentation", "UINT8", [-1, -1, -1]),
        ("confidence", "FP32", [-1, -1, -1]),
    ]
    config = client.get_model_config("thresholds")
    assert config["max_batch_size"] == 64 and "dynamic_batching" in config
    assert [(i["name"], i["data_type"], i["dims"]) for i in config["input"]] == [
        ("slices", "TYPE_FP32", [-1, -1]),
        ("window", "TYPE_FP32", [2]),
    ]


def test_configuration_is_what_is_written_or_what_the_graph_says(client: triton.InferenceServerClient) -> None:
    """config.pbtxt counts; without it, a first dimension that is the same any number everywhere is a batch."""
    simple, fixed, free = (client.get_model_config(name) for name in ("simple", "fixed", "versions"))
    assert (simple["max_batch_size"], simple["input"][0]["dims"]) == (8, [16])
    assert (fixed["max_batch_size"], fixed["input"][0]["dims"]) == (0, [1, 16])
    assert (free["max_batch_size"], free["input"][0]["dims"]) == (64, [16])
    assert ("dynamic_batching" in simple, "dynamic_batching" in free) == (True, False)
    assert simple["instance_group"][0]["kind"] == "KIND_CPU"


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [(False, False), (False, True), (True, True)])
def test_sum_and_difference(client: triton.InferenceServerClient, binary: tuple[bool, bool], packing: str) -> None:
    """JSON, binary and both at once, packed and not, in and out: the same numbers."""
    outputs = [*wanted("OUTPUT0", binary=binary[1]), *wanted("OUTPUT1", binary=binary[0])]
    for model in ("simple", "fixed"):
        answer = client.infer(
            model,
            pair(binary=binary),
            outputs=outputs,
            request_id="seven",
            request_compression_algorithm=packing,
            response_compression_algorithm=packing,
        )
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), FIRST + SECOND)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT1"), FIRST - SECOND)
        assert answer.get_response()["id"] == "seven" and answer.get_response()["model_version"] == "1"


def test_outputs_are_those_that_were_chosen(client: triton.InferenceServerClient) -> None:
    """One of two, in the order asked for, and all where none is named."""
    only = client.infer("simple", pair(), outputs=wanted("OUTPUT1"))
    assert [output["name"] for output in only.get_response()["outputs"]] == ["OUTPUT1"]
    turned = client.infer("simple", pair(), outputs=wanted("OUTPUT1", "OUTPUT0"))
    assert [output["name"] for output in turned.get_response()["outputs"]] == ["OUTPUT1", "OUTPUT0"]
    assert len(client.infer("simple", pair()).get_response()["outputs"]) == 2


def test_many_at_once_each_get_their_own(client: triton.InferenceServerClient) -> None:
    """Requests of different sizes that are computed together are taken apart again rightly."""
    asked = []
    for n in range(24):
        rows = n % 3 + 1
        first = np.full((rows, 16), n, np.int32)
        inputs = [given("INPUT0", first, "INT32"), given("INPUT1", np.full((rows, 16), 2, np.int32), "INT32")]
        asked.append((first, client.async_infer("simple", inputs)))
    for first, pending in asked:
        answer = pending.get_result()
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), first + 2)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT1"), first - 2)


def test_slices_in_json_and_binary_with_confidence(client: triton.InferenceServerClient, model_dir: Path) -> None:
    """More slices than go through the model at once, with confidence, either way: as ONNX Runtime alone says."""
    expected = run_offline(model_dir, SLICES, Window(0, 250))
    score = SLICES / 250
    for binary in (True, False):
        for names in (("segmentation",), ("confidence", "segmentation")):
            answer = client.infer("thresholds", sliced(binary=binary), outputs=wanted(*names, binary=binary))
            np.testing.assert_array_equal(answer.as_numpy("segmentation"), expected)
            if "confidence" in names:
                np.testing.assert_allclose(answer.as_numpy("confidence"), 1 / (1 + np.exp(-score)), rtol=1e-5)
    assert [o["name"] for o in client.infer("thresholds", sliced()).get_response()["outputs"]] == ["segmentation"]


def test_strings_and_halves(client: triton.InferenceServerClient, model_dir: Path) -> None:
    """BYTES in JSON and in binary, FP16 in binary; slices may be BF16 as well, what is FP16 may not."""
    words = np.array(["fin", "", "Öhr"], object)
    for binary in (True, False):
        answer = client.infer("words", [given("INPUT", words, "BYTES", binary=binary)], outputs=wanted("OUTPUT"))
        assert [word.decode() for word in answer.as_numpy("OUTPUT")] == list(words)
    halves = np.array([0.5, -2], np.float16)
    answer = client.infer("halves", [given("INPUT", halves, "FP16")], outputs=wanted("OUTPUT"))
    assert answer.as_numpy("OUTPUT").tolist() == [0.5, -2.0]
    brains = SLICES.astype(ml_dtypes.bfloat16)
    answer = client.infer("thresholds", [given("slices", brains, "BF16"), sliced()[1]], outputs=wanted("segmentation"))
    np.testing.assert_array_equal(
        answer.as_numpy("segmentation"), run_offline(model_dir, brains.astype(np.float32), Window(0, 250))
    )
    with pytest.raises(InferenceServerException, match="data-type is 'BF16', but model 'halves' expects 'FP16'"):
        client.infer("halves", [given("INPUT", brains[0, 0], "BF16")])


def test_the_highest_version_answers_unless_another_is_named(client: triton.InferenceServerClient) -> None:
    """Version 10 multiplies where version 2 subtracts."""
    assert client.get_model_metadata("versions")["versions"] == ["2", "10"]
    for version, expected in (("", FIRST * SECOND), ("10", FIRST * SECOND), ("2", FIRST - SECOND)):
        answer = client.infer("versions", pair(), model_version=version)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT1"), expected)


def test_statistics_count_what_was_asked(client: triton.InferenceServerClient) -> None:
    """One entry for a model; each request is a success or a failure, each row an inference."""

    def counted(model: str) -> dict[str, Any]:
        (entry,) = client.get_inference_statistics(model)["model_stats"]
        stats = entry["inference_stats"]
        return {**{name: spent["count"] for name, spent in stats.items()}, "rows": entry["inference_count"]}

    for model, inputs, rows in (("simple", pair(rows=2), 2), ("thresholds", sliced(), 9)):
        before = counted(model)
        client.infer(model, inputs)
        with pytest.raises(InferenceServerException):
            client.infer(model, inputs[:1])
        after = counted(model)
        assert (after["success"] - before["success"], after["fail"] - before["fail"]) == (1, 1)
        assert after["rows"] - before["rows"] == rows
    (entry,) = client.get_inference_statistics("thresholds", "1")["model_stats"]
    assert entry["inference_stats"]["compute_infer"]["ns"] > 0 and entry["execution_count"] >= 1
    assert {1, 4} <= {batch["batch_size"] for batch in entry["batch_stats"]} <= {1, 2, 3, 4}
    names = [entry["name"] for entry in client.get_inference_statistics()["model_stats"]]
    assert names.count("simple") == 1 and names.count("versions") == 2 and "thresholds" in names


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "said"),
    [
        ("wrong", pair(), None, "Request for unknown model: 'wrong' is not found"),
        ("simple", pair()[:1], None, r"expected 2 inputs but got 1 inputs for model 'simple'"),
        ("simple", [*pair(), given("INPUT2", FIRST, "INT32")], None, "unexpected inference input 'INPUT2'"),
        ("simple", pair(), wanted("OUTPUT9"), "unexpected inference output 'OUTPUT9' for model 'simple'"),
        ("simple", [given("INPUT0", FIRST.astype(np.float32), "FP32"), pair()[1]], None, "data-type is 'FP32'"),
        ("simple", [given("INPUT0", FIRST[:, :15], "INT32"), pair()[1]], None, r"Expected \[-1,16\], got \[1,15\]"),
        ("simple", pair(rows=9), None, "batch-size must be <= 8 for 'simple'"),
        ("simple", [pair()[0], pair(rows=2)[1]], None, "must have the same batch-size"),
        ("fixed", pair(rows=2), None, r"Expected \[1,16\], got \[2,16\]"),
        ("simple", pair(), [triton.InferRequestedOutput("OUTPUT0", class_count=2)], "classification extension"),
        ("broken", pair(), None, "'broken' has no available versions"),
    ],
)
def test_each_error(client: triton.InferenceServerClient, model: str, inputs: Any, outputs: Any, said: str) -> None:
    """The client raises its own exception, with Triton's words."""
    with pytest.raises(InferenceServerException, match=said):
        client.infer(model, inputs, outputs=outputs)


def test_what_is_not_offered_says_so(client: triton.InferenceServerClient) -> None:
    """Shared memory of GPUs, tracing and logging are refused by name, in the protocol's shape."""
    for ask in (
        lambda: client.register_cuda_shared_memory("r", b"handle", 0, 64),
        client.get_trace_settings,
        client.get_log_settings,
    ):
        with pytest.raises(InferenceServerException, match="this extension is not offered"):
            ask()


def test_the_repository_is_listed_and_models_come_and_go(
    client: triton.InferenceServerClient, running: RunningServer, repository: Path
) -> None:
    """Index, load, load with another configuration, unload; where loading fails, the old one serves on."""
    index = {(entry["name"], entry["state"]) for entry in client.get_model_repository_index()}
    assert {("simple", "READY"), ("thresholds", "READY"), ("broken", "UNAVAILABLE")} <= index
    ready = running.http.post(f"{running.url}/v2/repository/index", json={"ready": True}).json()
    assert {entry["state"] for entry in ready} == {"READY"}
    place(add_sub(), repository / "coming")
    assert not client.is_model_ready("coming")
    client.load_model("coming")
    assert client.is_model_ready("coming")
    client.load_model("coming", config=json.dumps({"max_batch_size": "16"}))
    assert client.get_model_config("coming")["max_batch_size"] == 16
    with pytest.raises(InferenceServerException, match="failed to load 'coming'"):
        client.load_model("coming", config='"parameters": {"config": {{"max_batch_size": "16"}}}')
    (repository / "coming" / "1" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(InferenceServerException, match="failed to load 'coming'"):
        client.load_model("coming")
    np.testing.assert_array_equal(client.infer("coming", pair()).as_numpy("OUTPUT0"), FIRST + SECOND)
    client.unload_model("coming")
    assert not client.is_model_ready("coming")
    for name in ("wrong_model_name", "..", "thresholds"):
        with pytest.raises(InferenceServerException, match=f"failed to load '{name}'"):
            client.load_model(name)
    assert client.is_model_ready("thresholds")


@pytest.mark.process
def test_a_repository_alone_is_enough(tmp_path: Path, repository: Path, example: Any) -> None:
    """Without a segmentation model the server is ready and answers /v2; a scan is refused with the reason."""
    server = RunningServer(tmp_path, None, model_repository=repository).start()
    try:
        with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
            assert client.is_server_ready() and server.get("/health/ready").status_code == 200
            np.testing.assert_array_equal(client.infer("simple", pair()).as_numpy("OUTPUT0"), FIRST + SECOND)
        for answer in (server.post(example.path, "fish.nii.gz"), server.get("/v1/model")):
            assert answer.status_code == 503
            assert "no segmentation model is served" in answer.json()["detail"]
        assert server.get("/metrics").status_code == 200
    finally:
        assert server.end() == 0

"""Tensors in POSIX shared memory, by Triton's own client: registered, read, written, and every way it can be wrong."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as shm

from tests.serving.plain_models import SIMPLE_CONFIG, add_sub, place
from tests.serving.running import RunningServer

FIRST, SECOND = np.arange(16, dtype=np.int32), np.full(16, 3, np.int32)
BYTES = FIRST.nbytes
SHARED = Path("/dev/shm")  # noqa: S108 - where POSIX has it


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None
) -> Iterator[triton.InferenceServerClient]:
    folder = tmp_path_factory.mktemp("server")
    place(add_sub(), folder / "repository" / "simple", config=SIMPLE_CONFIG)
    server = RunningServer(folder, model_dir, model_repository=folder / "repository").start()
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client
    server.end()


@contextmanager
def memory(client: triton.InferenceServerClient, *arrays: np.ndarray, size: int) -> Iterator[tuple[str, Any]]:
    """A region with these arrays in it one after the other, registered; its name, and the client's handle."""
    name = f"ricefish-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region(name, f"/{name}", size)
    try:
        offset = 0
        for array in arrays:
            shm.set_shared_memory_region(handle, [array], offset=offset)
            offset += array.nbytes
        client.register_system_shared_memory(name, f"/{name}", size)
        yield name, handle
        client.unregister_system_shared_memory(name)
    finally:
        shm.destroy_shared_memory_region(handle)


def pair(region: str, *, sizes: tuple[int, int] = (BYTES, BYTES), second_at: int = BYTES) -> list[triton.InferInput]:
    inputs = [triton.InferInput(f"INPUT{n}", [1, 16], "INT32") for n in (0, 1)]
    inputs[0].set_shared_memory(region, sizes[0])
    inputs[1].set_shared_memory(region, sizes[1], offset=second_at)
    return inputs


def output(name: str, region: str, size: int = BYTES, offset: int = 0) -> triton.InferRequestedOutput:
    wanted = triton.InferRequestedOutput(name, binary_data=True)
    wanted.set_shared_memory(region, size, offset=offset)
    return wanted


def test_inputs_and_outputs_may_lie_in_it(client: triton.InferenceServerClient) -> None:
    """Both ways, one way, and outputs of one request here and there."""
    assert "system_shared_memory" in client.get_server_metadata()["extensions"]
    with memory(client, FIRST, SECOND, size=2 * BYTES) as (given, _), memory(client, size=3 * BYTES) as (taken, handle):
        client.infer("simple", pair(given), outputs=[output("OUTPUT0", taken), output("OUTPUT1", taken, offset=BYTES)])
        found = shm.get_contents_as_numpy(handle, np.int32, [2, 16])
        np.testing.assert_array_equal(found, [FIRST + SECOND, FIRST - SECOND])
        answer = client.infer("simple", pair(given))
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0")[0], FIRST + SECOND)
        sent = [triton.InferInput(f"INPUT{n}", [1, 16], "INT32") for n in (0, 1)]
        for tensor, array in zip(sent, (SECOND, FIRST), strict=True):
            tensor.set_data_from_numpy(array[np.newaxis])
        outputs = [output("OUTPUT1", taken, 2 * BYTES, BYTES), triton.InferRequestedOutput("OUTPUT0")]
        answer = client.infer("simple", sent, outputs=outputs)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0")[0], SECOND + FIRST)
        said = answer.get_output("OUTPUT1")
        assert said["shape"] == [1, 16] and "data" not in said
        assert said["parameters"] == {
            "shared_memory_region": taken,
            "shared_memory_byte_size": BYTES,
            "shared_memory_offset": BYTES,
        }
        np.testing.assert_array_equal(shm.get_contents_as_numpy(handle, np.int32, [16], BYTES), SECOND - FIRST)


def test_regions_are_listed_and_forgotten(client: triton.InferenceServerClient) -> None:
    """By name or all at once; forgetting what is not there is no error, asking for it is."""
    with memory(client, size=100) as (one, _), memory(client, size=50) as (other, _):
        assert client.get_system_shared_memory_status(one) == [
            {"name": one, "key": f"/{one}", "offset": 0, "byte_size": 100}
        ]
        assert {region["name"] for region in client.get_system_shared_memory_status()} == {one, other}
        client.unregister_system_shared_memory(one)
        client.unregister_system_shared_memory(one)
        assert [region["name"] for region in client.get_system_shared_memory_status()] == [other]
        with pytest.raises(InferenceServerException, match=f"Unable to find system shared memory region: '{one}'"):
            client.get_system_shared_memory_status(one)
        client.unregister_system_shared_memory()
        assert client.get_system_shared_memory_status() == []
    client.unregister_cuda_shared_memory()
    assert client.get_cuda_shared_memory_status() == []


def test_what_cannot_be_registered_says_why(client: triton.InferenceServerClient, tmp_path: Path) -> None:
    """What is not there, too long, taken, elsewhere, or a link to elsewhere."""
    elsewhere = tmp_path / "secret"
    elsewhere.write_bytes(bytes(64))
    link = SHARED / f"ricefish-{uuid.uuid4().hex}"
    link.symlink_to(elsewhere)
    try:
        with memory(client, size=64) as (name, _):
            for asked, key, size, said in (
                ("new", "/ricefish-nobody", 64, "Unable to open shared memory region: '/ricefish-nobody'"),
                ("new", f"/{name}", 65, "end at 65, and .* has 64 bytes"),
                ("new", f"/{name}", 0, "byte_size one from 1 on"),
                (name, f"/{name}", 64, f"'{name}' already in manager"),
                ("new", f"/../../{elsewhere}", 64, "it is a name such as /slices"),
                ("new", "/..", 64, "it is a name such as /slices"),
                ("new", f"/{link.name}", 64, "Unable to open shared memory region"),
            ):
                with pytest.raises(InferenceServerException, match=said):
                    client.register_system_shared_memory(asked, key, size)
    finally:
        link.unlink()


@pytest.mark.parametrize(
    ("sizes", "second_at", "size", "said"),
    [
        ((BYTES, BYTES - 4), BYTES, BYTES, "input byte size mismatch for input 'INPUT1'.* Expected 64, got 60"),
        ((BYTES, BYTES), BYTES + 4, BYTES, "Invalid offset . byte size for shared memory region"),
        ((BYTES, BYTES), BYTES, BYTES - 4, r"output 'OUTPUT0' \(60 bytes\) should be at least 64 bytes"),
    ],
)
def test_places_that_do_not_fit_are_refused(
    client: triton.InferenceServerClient, sizes: tuple[int, int], second_at: int, size: int, said: str
) -> None:
    """An input or output whose place has another size, or lies outside of its region."""
    with (
        memory(client, FIRST, SECOND, size=2 * BYTES) as (name, _),
        memory(client, size=BYTES) as (taken, _),
        pytest.raises(InferenceServerException, match=said),
    ):
        client.infer("simple", pair(name, sizes=sizes, second_at=second_at), outputs=[output("OUTPUT0", taken, size)])
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'nowhere'"):
        client.infer("simple", pair("nowhere"))


def test_a_region_that_was_cut_short_is_an_error_of_that_request_alone(client: triton.InferenceServerClient) -> None:
    """The server lives, and says so of inputs and of outputs."""
    with memory(client, FIRST, SECOND, size=2 * BYTES) as (name, _), memory(client, size=BYTES) as (taken, _):
        os.truncate(SHARED / taken, 8)
        with pytest.raises(InferenceServerException, match=f"'{taken}' is shorter than when it was registered"):
            client.infer("simple", pair(name), outputs=[output("OUTPUT0", taken)])
        os.truncate(SHARED / name, 8)
        with pytest.raises(InferenceServerException, match=f"'{name}' is shorter than when it was registered"):
            client.infer("simple", pair(name))
    assert client.is_server_live()

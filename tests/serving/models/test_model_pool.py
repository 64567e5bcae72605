"""The pool of loaded models, used from several threads at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.models.loaded_model import LoadedModel, ModelIdentity
from serving.models.pool import ModelPool

MODELS = 400


class Copies:
    """A cache that has a copy of every model."""

    def copy(self, key: str) -> Path:
        return Path(key)

    def check(self, *_: object) -> None:
        pass

    def prune(self, needed: Collection[str], **_: object) -> None:
        self.needed = set(needed)


class Loads:
    """A loader that gives a model without files."""

    def load(self, folder: Path, identity: ModelIdentity, **_: object) -> LoadedModel:
        nothing: Any = None
        return LoadedModel(identity, nothing, nothing, nothing, "float32")


@pytest.fixture
def threads_take_turns() -> Iterator[None]:
    """As often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def identity(key: str) -> ModelIdentity:
    return ModelIdentity(name="m", version=None, sha256="ab" * 32, key=key)


@pytest.mark.usefixtures("threads_take_turns")
def test_copies_are_pruned_while_others_load() -> None:
    """One thread loads models by the hundred while another looks which are loaded: neither fails."""
    copies: Any = Copies()
    loads: Any = Loads()
    pool = ModelPool(copies, loads, make_room=lambda: False)
    over, failed, held = threading.Event(), list[BaseException](), list[LoadedModel]()

    def load() -> None:
        try:
            for round_number in range(20):
                held[:] = [pool.obtain(identity(f"{round_number} {number}")) for number in range(MODELS)]
        except BaseException as error:
            failed.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        while not over.is_set():
            pool.prune(())
    finally:
        thread.join()
    assert failed == []
    pool.prune({"needed"})
    assert copies.needed == {"needed", *(f"19 {number}" for number in range(MODELS))}

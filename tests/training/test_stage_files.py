"""What one stage wrote and another reads: gone, cut off or of another form, it is named with the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.prepared import Catalogue, SliceReader
from training.data.pseudo_labels import PseudoLabelReader, read_refined
from training.evaluation.headline import read_headline
from training.quality.examples import read_examples
from training.stage_files import StageFileError

READERS: dict[str, Callable[[Path], object]] = {
    "volumes.json": Catalogue.read,
    "refined.json": read_refined,
    "examples.json": read_examples,
    "headline.json": lambda folder: read_headline(folder / "headline.json"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", ['{"volumes": [', '{"a": null}', "[]", "", b"\xff\xfe"])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, name: str, content: str | bytes) -> None:
    """Cut off by a kill or a full disk, of another version, or empty; in one line."""
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(StageFileError) as raised:
        READERS[name](tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / name} is damaged")
    assert message.endswith("; `dvc repro` makes it again") and "\n" not in message


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_gone_is_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    """Rather than as the operating system says it."""
    with pytest.raises(StageFileError) as raised:
        READERS[name](tmp_path)
    assert str(raised.value) == f"{tmp_path / name} does not exist; `dvc repro` makes it again"


def test_volumes_that_are_gone_or_damaged_are_named(tmp_path: Path) -> None:
    """Of the prepared data set, and pseudo-labels."""
    with pytest.raises(StageFileError, match=r"fish\.zarr/image does not exist; `dvc repro`"):
        SliceReader(tmp_path, cache_megabytes=0).image("fish", 0)
    (tmp_path / "fish.zarr/image").mkdir(parents=True)
    (tmp_path / "fish.zarr/zarr.json").write_text("{")
    (tmp_path / "fish.zarr/image/zarr.json").write_text("{")
    with pytest.raises(StageFileError, match=r"fish\.zarr/image is damaged.*`dvc repro`"):
        SliceReader(tmp_path, cache_megabytes=0).image("fish", 0)
    with pytest.raises(StageFileError, match=r"fish\.zarr is damaged.*`dvc repro`"):
        PseudoLabelReader(tmp_path).labels("fish", 0)

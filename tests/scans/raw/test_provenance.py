"""provenance.csv: where the files of a raw data set are from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.raw.provenance import Origin, ProvenanceError, read_provenance, write_provenance

NAMES = [field.name for field in dataclasses.fields(Origin)]
TEXTS = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)


def origin(**changes: str) -> Origin:
    return Origin(**{**dict.fromkeys(NAMES, ""), "image": "labelled/images/a.nii.gz", **changes})


@given(st.lists(st.builds(Origin, **dict.fromkeys(NAMES, TEXTS)), unique_by=lambda one: one.image, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, origins: list[Origin]) -> None:
    """Names of people with commas and quotes among it; nothing is left beside the file."""
    named = [one for one in origins if one.image]
    folder = tmp_path_factory.mktemp("data")
    write_provenance(folder, named)
    assert read_provenance(folder) == {one.image: one for one in named}
    assert [path.name for path in folder.iterdir()] == ["provenance.csv"]


def test_a_data_set_without_the_file_is_from_nowhere(tmp_path: Path) -> None:
    """Most are made by hand."""
    assert read_provenance(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\n", r"provenance\.csv has no column server, scan, .*; its first line names image, labels"),
        (f"{','.join(NAMES)}\na{',' * 13}\na{',' * 13}\n", "line 3, names a a second time"),
        (f"{','.join(NAMES)}\n{',' * 13}\n", "line 2, names no image"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Whoever has edited it finds the place."""
    (tmp_path / "provenance.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProvenanceError, match=message):
        read_provenance(tmp_path)


def test_an_origin_is_said_in_words() -> None:
    """With the author where there is one, and as a scan where nothing was corrected."""
    assert origin(scan="12", correction="2", author="ada").what == "correction 2 by ada of scan 12"
    assert origin(scan="12", correction="2").what == "correction 2 of scan 12"
    assert origin(scan="12").what == "scan 12"

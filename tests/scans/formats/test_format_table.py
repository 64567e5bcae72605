"""The table of formats: what it names is there, and nothing of the package stands outside it."""

from importlib import import_module
from pathlib import Path

import pytest

from scans import formats
from scans.formats import ACCEPTED
from scans.formats.format_table import FORMATS

NAMED = sorted({name for known in FORMATS for name in (known.reader, *known.writers.values()) if name})


@pytest.mark.parametrize("name", NAMED)
def test_every_reader_and_writer_that_is_named_is_there(name: str) -> None:
    """A slip of the pen in the table is found here, not by the first who posts such a file."""
    module, _, function = name.rpartition(".")
    assert callable(getattr(import_module(f"scans.formats.{module}"), function))


def test_every_module_that_writes_is_named() -> None:
    """A writer without an entry would never be called."""
    folder = Path(formats.__file__).parent
    writing = {file.stem for file in folder.glob("*_writing.py")} - {"flat_writing"}
    assert writing == {name.rpartition(".")[0] for known in FORMATS for name in known.writers.values()}


def test_no_suffix_is_two_formats() -> None:
    """A name says one format, and what can be written can be read."""
    suffixes = [suffix for known in FORMATS for suffix in known.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(set(known.writers) <= set(known.suffixes) for known in FORMATS)
    assert all(set(known.download.suffixes) <= set(known.writers) for known in FORMATS if known.download)


def test_an_error_lists_what_is_accepted() -> None:
    """The list in words is that of the table."""
    assert ACCEPTED == (
        "NIfTI (.nii, .nii.gz, .hdr with .img), TIFF (.tif, .tiff: multi-page, BigTIFF, ImageJ, OME), "
        "NRRD (.nrrd, .nhdr with .raw), MetaImage (.mha, .mhd with .raw), HDF5 (.h5), OME-Zarr 0.4 and 0.5 "
        "(folder or .zip), a DICOM series or single-page TIFF, PNG or BMP slices (folder or .zip)"
    )

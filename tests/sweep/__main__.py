"""The command: python -m tests.sweep [--files N] [--seed N] [--only KIND]; exit code 1 where readers differ."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import track

from tests.sweep import chunked, flat, pages, series
from tests.sweep.comparison import Seen, differences

_SHOWN = 20


@dataclass(frozen=True)
class Kind:
    """A format: how a file of it is written, and how another than ours reads it."""

    write: Callable[[Random, Path], Path]
    read: Callable[[Path], Seen]


KINDS: Mapping[str, Kind] = {
    "NIfTI": Kind(flat.write_nifti, flat.read_nifti),
    "NRRD": Kind(flat.write_nrrd, flat.read_nrrd),
    "MetaImage": Kind(flat.write_metaimage, flat.read_metaimage),
    "TIFF": Kind(pages.write_tiff, pages.read_tiff),
    "TIFF slices": Kind(pages.write_tiff_slices, pages.read_tiff_slices),
    "PNG and BMP slices": Kind(pages.write_pictures, pages.read_pictures),
    "HDF5": Kind(chunked.write_hdf5, chunked.read_hdf5),
    "OME-Zarr": Kind(chunked.write_ome_zarr, chunked.read_ome_zarr),
    "DICOM": Kind(series.write_dicom, series.read_dicom),
}


@dataclass(frozen=True)
class Difference:
    """Between Ricefish and another reader, over one file."""

    kind: str
    seed: int
    """`python -m tests.sweep --only KIND --files 1 --seed SEED` makes the file again."""
    what: str


def sweep(names: Sequence[str], *, files: int, seed: int) -> Iterator[Difference | None]:
    """So many files, of the kinds in turn; what differs in each, one at a time, and None for a file without a fault."""
    for number in range(files):
        name, its_seed = names[number % len(names)], seed + number // len(names)
        with tempfile.TemporaryDirectory(prefix="ricefish-sweep-") as folder:
            path = KINDS[name].write(Random(f"{name} {its_seed}"), Path(folder))  # noqa: S311 - no secret
            found = differences(path, KINDS[name].read(path))
        yield Difference(name, its_seed, "; ".join(found)) if found else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sweep; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description="Compares readers over drawn files")
    parser.add_argument("--files", type=int, default=3000, help="over all kinds (default: 3000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first file of each kind (default: 1)")
    parser.add_argument("--only", action="append", choices=KINDS, help="one kind; may be given several times")
    given, console = parser.parse_args(arguments), Console()
    names = given.only or list(KINDS)
    swept = sweep(names, files=given.files, seed=given.seed)
    found = [one for one in track(swept, "files", total=given.files, console=console) if one is not None]
    for one in found[:_SHOWN]:
        console.print(f"{one.kind}, seed {one.seed}: {one.what}", highlight=False, markup=False)
    counts = Counter(one.kind for one in found)
    differing = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
    console.print(f"{given.files} files of {len(names)} kinds; read otherwise than by other readers: {differing}")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())

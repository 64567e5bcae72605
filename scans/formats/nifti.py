"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz), read slab by slab.

The affine is the one that nibabel reports: sform where its code is set, else qform, else the voxel sizes alone with the
origin in the middle. Both forms and their codes stay with it, for programs that choose otherwise. Files in micrometres
or metres are brought to mm; no unit means mm, as everywhere in practice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from scans.formats.beside import Beside, VoxelFile
from scans.formats.errors import GREY_VALUES, ONE_VOLUME, WHOLE_FILE, FormatError, NoSpacing
from scans.formats.sources import Opened
from scans.formats.streams import Layout, Scale, gzip_start
from scans.formats.units import MM, UNITS, LengthUnit
from scans.geometry import Frame, NiftiForms, Triple

_HEADER_BYTES = 540
"""As many as the longer of the two headers has."""

_GZIP = b"\x1f\x8b"

_UNITS = {0: MM, 1: UNITS["m"], 2: MM, 3: UNITS["um"]}
"""By their codes; 0, which says nothing, is mm in practice."""
_ROUNDING = 3e-7
"""By which the quaternion may be longer than 1, as its parts are float32."""
_SAME_PLACE = 0.1
"""Voxels that qform and sform may be apart at any corner."""
_AXES = ("x", "y", "z", "t", "5th", "6th", "7th")


def open_nifti(path: Path, stack: ExitStack, beside: Beside | None = None) -> Opened:
    """A .nii or .nii.gz file, or a pair of .hdr and .img. Raises FormatError for what is not one scalar volume.

    `beside` is the file where it is an archive's.
    """
    files = beside or Beside.on_disk(path)
    header, decoder = _header(path, files.file)
    data = files.file
    if not header.is_single:
        data, decoder = _image_of(files)
    layout = Layout(
        data,
        offset=0,
        skip=_offset(path, header),
        shape=_shape(path, header),
        stored=_stored(path, header),
        scale=_scale(path, header),
        decoder=decoder,
    )
    opened = Opened.placed(layout.open(stack), partial(_frame, header))
    return opened if opened.frame is None else replace(opened, notes=_two_places(opened.frame, layout.shape))


def _header(path: Path, file: VoxelFile) -> tuple[Any, Callable[[BinaryIO], Any] | None]:
    decoder = None
    with file.open() as opened:
        start = opened.read(_HEADER_BYTES)
    if start[:2] == _GZIP:
        decoder = igzip.open
        with file.open() as opened:
            start = gzip_start(path, opened, _HEADER_BYTES)
    if start[4:7] in (b"n+2", b"ni2"):
        kind: Any = Nifti2PairHeader if start[4:7] == b"ni2" else Nifti2Header
    else:
        kind = Nifti1PairHeader if start[344:347] == b"ni1" else Nifti1Header
    if len(start) < kind.sizeof_hdr:
        raise FormatError(path, f"truncated: {len(start)} of {kind.sizeof_hdr} bytes of the NIfTI header", WHOLE_FILE)
    return kind(start[: kind.sizeof_hdr], check=False), decoder


def _image_of(files: Beside) -> tuple[VoxelFile, Callable[[BinaryIO], Any] | None]:
    """The .img, or .img.gz, that belongs to a .hdr. Raises FormatError where it is not beside it."""
    stem = files.file.path.name.removesuffix(".gz").rpartition(".")[0]
    data = files.find(f"{stem}.img") or files.find(f"{stem}.img.gz") or files.voxels(f"{stem}.img")
    with data.open() as opened:
        return data, igzip.open if opened.read(2) == _GZIP else None


def _shape(path: Path, header: Any) -> Triple:
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise FormatError(path, f"damaged: the NIfTI header names {axes} axes", ONE_VOLUME)
    sizes = [int(n) for n in header["dim"][1 : axes + 1]]
    if min(sizes) < 1:
        raise FormatError(path, f"empty or damaged: axes of {_named(sizes)}", f"{ONE_VOLUME}, none of them of size 0")
    if any(n != 1 for n in sizes[3:]):
        raise FormatError(path, f"{len(sizes)} axes: {_named(sizes)}", ONE_VOLUME)
    x, y, z = (*sizes, 1, 1)[:3]
    return (z, y, x)


def _named(sizes: list[int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in zip(_AXES, sizes, strict=False))


def _stored(path: Path, header: Any) -> np.dtype[Any]:
    code = int(header["datatype"])
    try:
        stored: np.dtype[Any] = header.get_data_dtype()
    except HeaderDataError:
        raise FormatError(path, f"NIfTI data type {code}", GREY_VALUES) from None
    if stored.itemsize == 0:
        raise FormatError(path, f"NIfTI data type {code}", GREY_VALUES)
    return stored


def _offset(path: Path, header: Any) -> int:
    stated, least = float(header["vox_offset"]), int(header.single_vox_offset) if header.is_single else 0
    if not 0 <= stated < 2**40:
        raise FormatError(path, f"damaged: the voxels are said to begin at byte {stated}", WHOLE_FILE)
    return max(int(stated), least)


def _scale(path: Path, header: Any) -> Scale | None:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0 or (slope, intercept) == (1, 0):
        return None
    if not np.isfinite(intercept):
        raise FormatError(path, f"damaged: scl_slope is {slope}, scl_inter is {intercept}", "a finite scl_inter")
    return Scale(slope, intercept)


def _frame(header: Any) -> Frame:
    code, refused = int(header["xyzt_units"]) & 7, False
    if code not in _UNITS:
        raise NoSpacing(f"the NIfTI header's unit of length has the number {code}, which the format does not have")
    unit = _UNITS[code]
    for affine in _affines(header):
        if affine is None:
            continue
        if unit is not MM:
            affine[:3] *= unit.mm
        try:
            frame = Frame.from_affine(affine)
        except ValueError:
            refused = True
            continue
        return frame if refused else replace(frame, nifti=_forms(header, unit))
    raise NoSpacing("the header has neither an affine nor usable voxel sizes (pixdim)")


_NO_PLACE = (
    "neither qform nor sform places the scan, and programs put it where they like: nii.gz lies on it in each of them, "
    "in every other format a result has its middle at 0, as nibabel has it"
)


def _two_places(frame: Frame, shape: Triple) -> tuple[str, ...]:
    """What to say of a file whose forms differ, by more than a tenth of a voxel, or that has neither."""
    if frame.nifti is None or len(places := frame.nifti.places) == 1:
        return ()
    if not places:
        return (_NO_PLACE,)
    corners = np.array([(x, y, z, 1) for x in (0, shape[2]) for y in (0, shape[1]) for z in (0, shape[0])])
    apart = float(np.linalg.norm(corners @ (places[0] - places[1]).T, axis=1).max())
    if apart <= _SAME_PLACE * min(np.linalg.norm(places[0][:3, :3], axis=0)):
        return ()
    return (
        f"qform and sform place the scan up to {apart:.3g} {frame.nifti.unit} apart, and programs "
        "choose either: nii.gz carries both, in every other format a result lies where the sform has the scan",
    )


def _forms(header: Any, unit: LengthUnit) -> NiftiForms | None:
    """What the header states; None where it holds what no program can use."""
    handedness, *sides = (float(value) for value in header["pixdim"][:4])
    b, c, d = (float(header[f"quatern_{part}"]) for part in "bcd")
    offset = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    rows = header.get_sform()[:3]
    usable = np.isfinite([handedness, *sides, b, c, d, *offset]).all() and np.isfinite(rows).all()
    if not usable or min(sides) <= 0 or b * b + c * c + d * d > 1 + _ROUNDING:
        return None
    x, y, z = sides
    ox, oy, oz = offset
    return NiftiForms(
        unit=unit.symbol,
        qform_code=max(0, int(header["qform_code"])),
        sform_code=max(0, int(header["sform_code"])),
        pixdim=(-1.0 if handedness == -1 else 1.0, x, y, z),
        quaternion=(b, c, d),
        offset=(ox, oy, oz),
        rows=tuple(tuple(row) for row in rows.tolist()),
    )


def _affines(header: Any) -> Iterator[NDArray[np.float64] | None]:
    yield header.get_sform() if header["sform_code"] > 0 else None
    sizes = header["pixdim"][1:4]
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        return
    yield header.get_qform() if header["qform_code"] > 0 else None
    yield header.get_base_affine()

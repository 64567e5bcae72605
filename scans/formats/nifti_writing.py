"""NIfTI segmentations and volumes, written slab by slab.

A scan that came as NIfTI has its qform, its sform and their codes again, bit for bit: whichever of them a program goes
by, the result lies on the scan. What came otherwise has its affine as sform, and as qform too. Axes that are not at
right angles, which a qform cannot state, have the nearest that are: ITK refuses a file without one, and nibabel, which
goes by the sform, sees the shear. A NIfTI in micrometres or metres has a result in them, so that it lies on its scan
for nibabel, which reads no unit, too; every other is in mm.

Segmentations have the names and colours of their labels in an extension.
"""

from __future__ import annotations

import struct
from contextlib import ExitStack
from typing import Any

from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from scans.formats.flat_writing import FlatWriter, GzipWriter
from scans.formats.label_names import caret_labels
from scans.formats.units import UNITS
from scans.formats.writing import FormatWriter, Target
from scans.geometry import Frame, NiftiForms
from scans.organs import OrganMap

_ALIGNED = 2
_CARET = 30
"""The code of extensions that Connectome Workbench reads."""
_UNIT_NAMES = {"mm": "mm", "um": "micron", "m": "meter"}
_LARGEST_NIFTI1_AXIS = 32767
_MOST_SHEAR_DEGREES = 0.005
"""That ITK takes for rounding in an sform."""


def create_nifti(target: Target, stack: ExitStack) -> FormatWriter:
    """A .nii file."""
    file = target.output(stack)
    file.write(_nifti_header(target))
    return FlatWriter(file)


def create_nifti_gz(target: Target, stack: ExitStack) -> FormatWriter:
    """A .nii.gz file, whose bytes depend on nothing but the volume."""
    writer = GzipWriter(target.output(stack))
    writer.write_header(_nifti_header(target))
    return writer


def _nifti_header(target: Target) -> bytes:
    kind: Any = Nifti2Header if max(target.shape) > _LARGEST_NIFTI1_AXIS else Nifti1Header
    header: Any = kind(endianness="<")
    header.set_data_shape(target.shape[::-1])
    header.set_data_dtype(target.dtype)
    header.set_xyzt_units(_UNIT_NAMES[target.frame.nifti.unit if target.frame.nifti else "mm"])
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = header.single_magic
    header["descrip"] = b"Ricefish"
    if target.organs:
        header.set_intent("label")
    _place(header, target.frame)
    extensions = _extensions(target.organs)
    header["vox_offset"] = header.single_vox_offset + len(extensions) - 4
    block: bytes = header.binaryblock
    return block + extensions


def _extensions(organs: OrganMap | None) -> bytes:
    """What stands between header and voxels: four bytes that say whether there are extensions, then names of labels."""
    if organs is None:
        return bytes(4)
    content = caret_labels(organs).encode("utf-8")
    size = -(-(8 + len(content)) // 16) * 16
    return b"\1\0\0\0" + struct.pack("<ii", size, _CARET) + content.ljust(size - 8, b"\0")


def _place(header: Any, frame: Frame) -> None:
    if frame.nifti is None:
        header.set_sform(frame.matrix, code=_ALIGNED)
        header.set_qform(frame.matrix, code=_ALIGNED)
        return
    _carry(header, frame.nifti)
    if frame.shear_degrees > _MOST_SHEAR_DEGREES and not header["qform_code"]:
        affine = frame.matrix
        affine[:3] /= UNITS[frame.nifti.unit].mm
        header.set_qform(affine, code=int(header["sform_code"]))


def _carry(header: Any, forms: NiftiForms) -> None:
    header["qform_code"], header["sform_code"] = forms.qform_code, forms.sform_code
    header["pixdim"][:4] = forms.pixdim
    for part, value in zip("bcd", forms.quaternion, strict=True):
        header[f"quatern_{part}"] = value
    for axis, place, row in zip("xyz", forms.offset, forms.rows, strict=True):
        header[f"qoffset_{axis}"], header[f"srow_{axis}"] = place, row

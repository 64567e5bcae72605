"""NIfTI segmentations and volumes, written slab by slab.

The affine that is read back is, bit for bit, the one that was handed in, as long as any of NIfTI's three ways to state
one can hold it: sform (with qform beside it unless the axes are skewed), qform alone, or voxel sizes alone. Else (an
affine of more digits than float32 has) it is the nearest sform. Files are always in mm: what came in micrometres goes
out at the same place, in mm.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from scans.formats.flat_writing import FlatWriter, gzip_stream
from scans.formats.writing import SlabWriter, Target

_ALIGNED = 2
_LARGEST_NIFTI1_AXIS = 32767


def create_nifti(target: Target, stack: ExitStack) -> SlabWriter:
    """A .nii file."""
    file = stack.enter_context(target.path.open("wb"))
    file.write(_nifti_header(target))
    return FlatWriter(file)


def create_nifti_gz(target: Target, stack: ExitStack) -> SlabWriter:
    """A .nii.gz file, whose bytes depend on nothing but the volume."""
    packed = gzip_stream(stack.enter_context(target.path.open("wb")), stack)
    packed.write(_nifti_header(target))
    return FlatWriter(packed)


def _nifti_header(target: Target) -> bytes:
    kind: Any = Nifti2Header if max(target.shape) > _LARGEST_NIFTI1_AXIS else Nifti1Header
    header: Any = kind(endianness="<")
    header.set_data_shape(target.shape[::-1])
    header.set_data_dtype(target.dtype)
    header.set_xyzt_units("mm")
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = header.single_magic
    header["descrip"] = b"Ricefish"
    if target.organs:
        header.set_intent("label")
    _place(header, target.frame.matrix)
    no_extensions = bytes(4)
    block: bytes = header.binaryblock
    return block + no_extensions


def _place(header: Any, affine: NDArray[np.float64]) -> None:
    header.set_qform(affine, code=_ALIGNED)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    skewed = not np.allclose(header.get_qform(), affine, rtol=0, atol=1e-4 * spacing.min())
    header.set_sform(affine, code=_ALIGNED)
    if skewed:
        header["qform_code"] = 0
    if np.array_equal(header.get_sform(), affine):
        return
    if np.array_equal(header.get_qform(), affine):
        header["qform_code"], header["sform_code"] = _ALIGNED, 0
    elif np.array_equal(header.get_base_affine(), affine):
        header["qform_code"] = header["sform_code"] = 0

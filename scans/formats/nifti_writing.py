"""NIfTI segmentations and volumes, written slab by slab.

The affine that is read back is, bit for bit, the one that was handed in, as long as any of NIfTI's three ways to state
one can hold it: sform (with qform beside it unless the axes are skewed), qform alone, or voxel sizes alone. Else (an
affine of more digits than float32 has) it is the nearest sform. Files are always in mm: what came in micrometres goes
out at the same place, in mm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from scans.geometry import Frame, Triple

_ALIGNED = 2
_LARGEST_NIFTI1_AXIS = 32767


def nifti_header(*, shape: Triple, dtype: np.dtype[Any], frame: Frame, labels: bool) -> bytes:
    """All that stands before the voxels of a .nii file; NIfTI-2 where an axis is too long for NIfTI-1."""
    kind: Any = Nifti2Header if max(shape) > _LARGEST_NIFTI1_AXIS else Nifti1Header
    header: Any = kind(endianness="<")
    header.set_data_shape(shape[::-1])
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm")
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = header.single_magic
    header["descrip"] = b"Ricefish"
    if labels:
        header.set_intent("label")
    _place(header, frame.matrix)
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

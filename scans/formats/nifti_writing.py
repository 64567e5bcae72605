"""NIfTI segmentations and volumes, written slab by slab.

The affine that is read back is, bit for bit, the one that was handed in, as long as any of NIfTI's three ways to state
one can hold it: sform (with qform beside it unless the axes are skewed), qform alone, or voxel sizes alone. Else (an
affine of more digits than float32 has) it is the nearest sform. Files are always in mm: what came in micrometres goes
out at the same place, in mm.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from scans.formats.flat_writing import FlatWriter, GzipWriter
from scans.formats.writing import FormatWriter, Target

_ALIGNED = 2
_LARGEST_NIFTI1_AXIS = 32767


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
    skewed = not np.allclose(header.get_qform()[:3, :3] / spacing, affine[:3, :3] / spacing, rtol=0, atol=1e-4)
    header.set_sform(affine, code=_ALIGNED)
    if skewed:
        header["qform_code"] = 0
    if np.array_equal(header.get_sform(), affine):
        return
    if _set_exact_qform(header, affine):
        header["qform_code"], header["sform_code"] = _ALIGNED, 0
    elif np.array_equal(header.get_base_affine(), affine):
        header["qform_code"] = header["sform_code"] = 0


def _set_exact_qform(header: Any, affine: NDArray[np.float64]) -> bool:
    """Finds the 32-bit quaternion that gives exactly this affine; leaves the header as it was where there is none."""
    before = header["quatern_b"], header["quatern_c"], header["quatern_d"]
    rotation = affine[:3, :3] / header["pixdim"][1:4]
    rotation[:, 2] *= header["pixdim"][0]
    near = _quaternion(rotation)[1:].astype(header["quatern_b"].dtype)
    neighbours = [(value, np.nextafter(value, -2), np.nextafter(value, 2)) for value in near]
    for candidate in itertools.product(*neighbours):
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = candidate
        if np.array_equal(header.get_qform(), affine):
            return True
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = before
    return False


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """w, x, y, z with w >= 0; small components keep their digits, which an orthogonalised matrix would lose."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    products = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    largest = int(np.argmax(np.diag(products)))
    quaternion: NDArray[np.float64] = products[largest] / (2 * np.sqrt(products[largest, largest]))
    return -quaternion if quaternion[0] < 0 else quaternion

"""NIfTI files that tests write, and copies of them that Ricefish writes."""

import gzip

import nibabel as nib
import numpy as np

from scans.formats import create_volume, open_volume
from scans.geometry import Frame

VOXELS = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
"""x, y, z, as nibabel has it."""


def save(path, array=VOXELS, affine=None, **fields):
    image = nib.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    if fields:
        patch(path, fields, image.header)
    return path


def patch(path, fields, header):
    """nibabel puts some fields right as it saves; this puts them as they were asked for."""
    content = bytearray(path.read_bytes() if path.suffix == ".nii" else gzip.decompress(path.read_bytes()))
    for name, value in fields.items():
        kind, offset = header.template_dtype.fields[name][:2]
        raw = np.asarray(value, kind.base).tobytes()
        content[offset : offset + len(raw)] = raw
    path.write_bytes(bytes(content) if path.suffix == ".nii" else gzip.compress(content))


def in_nrrd(path, affine):
    frame = Frame.from_affine(affine)
    with create_volume(path, shape=VOXELS.shape[::-1], dtype=VOXELS.dtype, frame=frame) as writer:
        writer.write(VOXELS.T)
    return path


def copy(source, target):
    with (
        open_volume(source) as volume,
        create_volume(target, shape=volume.shape, dtype=volume.dtype, frame=volume.frame) as writer,
    ):
        for _, slab in volume.slabs(1):
            writer.write(slab)
    return nib.load(target)

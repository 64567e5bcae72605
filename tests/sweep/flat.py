"""NIfTI by nibabel, NRRD and MetaImage by SimpleITK: files, and what these libraries read of them."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from random import Random

import nibabel as nib
import numpy as np
import SimpleITK

from tests.sweep.comparison import Seen
from tests.sweep.drawing import draw_direction, draw_spacing, draw_voxels

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NIFTI_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")
_ITK_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")
_MM = {"mm": 1.0, "micron": 1e-3, "meter": 1e3, "unknown": 1.0}
_NRRD_TYPES = {"u1": "uchar", "i1": "int8", "u2": "ushort", "i2": "short", "u4": "uint32", "i4": "int", "f4": "float"}
_NRRD_UNITS = {"mm": 1.0, "um": 1e-3, "microns": 1e-3, "m": 1e3, "cm": 10.0}
_NRRD_SPACES = {
    "left-posterior-superior": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "LPS": (-1, -1, 1),
    "RAS": (1, 1, 1),
}


def write_nifti(dice: Random, folder: Path) -> Path:
    """NIfTI-1 and -2, gzipped or not, either byte order, scaled, sform, qform or both, differing too, in all units."""
    kind = nib.Nifti2Image if dice.random() < 0.2 else nib.Nifti1Image
    voxels = draw_voxels(dice, dice.choice(_NIFTI_TYPES))
    array = voxels.T if dice.random() < 0.8 else voxels.T[..., None]
    affine = np.eye(4)
    affine[:3, :3] = draw_direction(dice) * draw_spacing(dice)
    affine[:3, 3] = [dice.uniform(-50, 50) for _ in range(3)]
    image = kind(array, affine)
    header = kind.header_class(endianness=dice.choice("<>"))
    header.set_data_dtype(voxels.dtype)
    image = kind(array, affine, header)
    forms = dice.choice(("sform", "qform", "both", "differing"))
    image.set_sform(affine, code=dice.randint(1, 4) if forms != "qform" else 0)
    elsewhere = affine + np.array([[0, 0, 0, 7.5]] * 3 + [[0] * 4])
    placed = elsewhere if forms == "differing" else affine
    image.set_qform(placed, code=dice.randint(1, 4) if forms != "sform" else 0)
    image.header.set_xyzt_units(dice.choice(list(_MM)), "sec" if dice.random() < 0.5 else "unknown")
    if voxels.dtype.kind in "ui" and dice.random() < 0.4:
        image.header.set_slope_inter(dice.choice((0.5, 2.0, -1.25)), dice.choice((0.0, -1024.0, 3.5)))
    path = folder / f"file.nii{dice.choice(('', '.gz'))}"
    nib.save(image, path)
    return path


def read_nifti(path: Path) -> Seen:
    """By nibabel; it leaves the unit to who reads."""
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    voxels = voxels.reshape(voxels.shape[:3])
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MM[image.header.get_xyzt_units()[0]]
    return Seen(voxels.T, affine)


def _drawn_image(dice: Random) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(draw_voxels(dice, dice.choice(_ITK_TYPES)))
    image.SetSpacing([float(n) for n in draw_spacing(dice)])
    image.SetOrigin([dice.uniform(-50, 50) for _ in range(3)])
    image.SetDirection(draw_direction(dice).ravel().tolist())
    return image


def _read_by_itk(path: Path, factor: float = 1.0) -> Seen:
    image = SimpleITK.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = _LPS @ affine
    affine[:3] *= factor
    return Seen(SimpleITK.GetArrayFromImage(image), affine)


def write_metaimage(dice: Random, folder: Path) -> Path:
    """In one file or two, packed or not."""
    path = folder / f"file.{dice.choice(('mha', 'mhd'))}"
    SimpleITK.WriteImage(_drawn_image(dice), path, useCompression=dice.random() < 0.5)
    return path


def read_metaimage(path: Path) -> Seen:
    """By SimpleITK."""
    return _read_by_itk(path)


def write_nrrd(dice: Random, folder: Path) -> Path:
    """As SimpleITK writes it, packed or not, and by hand: other spaces, units, byte orders, spacings without place."""
    path = folder / "file.nrrd"
    if dice.random() < 0.5:
        SimpleITK.WriteImage(_drawn_image(dice), path, useCompression=dice.random() < 0.5)
        return path
    code = dice.choice(list(_NRRD_TYPES))
    order = dice.choice("<>")
    voxels = draw_voxels(dice, code)
    packed = dice.random() < 0.5
    lines = ["NRRD0005", f"type: {_NRRD_TYPES[code]}", "dimension: 3"]
    lines += [f"sizes: {' '.join(str(n) for n in reversed(voxels.shape))}"]
    lines += _nrrd_place(dice)
    lines += [f"endian: {'little' if order == '<' else 'big'}", f"encoding: {'gzip' if packed else 'raw'}"]
    content = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    path.write_bytes("\n".join([*lines, "", ""]).encode() + (gzip.compress(content) if packed else content))
    return path


def _nrrd_place(dice: Random) -> list[str]:
    steps = draw_spacing(dice)
    unit = dice.choice(["", *_NRRD_UNITS])
    if dice.random() < 0.2:
        lines = [f"spacings: {' '.join(repr(float(step)) for step in steps)}"]
        return lines + ([f'units: "{unit}" "{unit}" "{unit}"'] if unit else [])
    columns = (draw_direction(dice) * steps).T
    vectors = [f"({','.join(repr(float(value)) for value in column)})" for column in columns]
    origin = ",".join(repr(dice.uniform(-50, 50)) for _ in range(3))
    lines = [f"space: {dice.choice(list(_NRRD_SPACES))}", f"space directions: {' '.join(vectors)}"]
    lines += [f"space origin: ({origin})", "kinds: domain domain domain"]
    return lines + ([f'space units: "{unit}" "{unit}" "{unit}"'] if unit else [])


def read_nrrd(path: Path) -> Seen:
    """By SimpleITK, which passes units over: they are taken from the header's line."""
    head = itertools.takewhile(bool, path.read_bytes().partition(b"\n\n")[0].decode("latin-1").splitlines())
    units = [line.split('"')[1] for line in head if line.startswith(("units:", "space units:"))]
    return _read_by_itk(path, _NRRD_UNITS[units[0]] if units else 1.0)

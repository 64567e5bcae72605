"""DICOM series by pydicom: folders and zips, and what ITK's reader, which is GDCM, reads of them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from tests.sweep.comparison import Seen
from tests.sweep.drawing import draw_direction, draw_spacing
from tests.sweep.pages import zipped

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def write_dicom(dice: Random, folder: Path) -> Path:
    """CT of 8 to 16 bits, signed or not, rescaled or not, at any angle, files in any order, in a folder or zip."""
    place = folder / "series"
    place.mkdir()
    bits, signed = dice.choice(((8, False), (12, False), (16, False), (12, True), (16, True)))
    slices = _pixels(dice, bits, signed=signed)
    axes, (dx, dy, dz) = _right_handed(draw_direction(dice)), draw_spacing(dice)
    corner = np.array([dice.uniform(-50, 50) for _ in range(3)])
    rescale = dice.choice((None, (1.0, -1024.0), (2.0, 0.0), (0.5, 10.0)))
    turned = bits != 12 and dice.random() < 0.3  # GDCM turns no others
    syntax, uid = dice.choice(_SYNTAXES), generate_uid(entropy_srcs=[str(dice.random())])
    names = dice.sample(range(1000), len(slices))
    for number, (pixels, name) in enumerate(zip(slices, names, strict=True)):
        data = _header(pixels, bits, signed=signed)
        data.SeriesInstanceUID = data.StudyInstanceUID = uid
        data.InstanceNumber = number + 1
        data.PhotometricInterpretation = "MONOCHROME1" if turned else "MONOCHROME2"
        data.ImagePositionPatient = [f"{value:.8g}" for value in corner + axes[:, 2] * dz * number]
        data.ImageOrientationPatient = [f"{value:.10g}" for value in axes[:, :2].T.ravel()]
        data.PixelSpacing, data.SliceThickness = [f"{dy:.8g}", f"{dx:.8g}"], f"{dz:.8g}"
        if rescale:
            data.RescaleSlope, data.RescaleIntercept = rescale
        _save(data, place / f"{name}.dcm", syntax)
    return place if dice.random() < 0.5 else zipped(dice, place)


def _pixels(dice: Random, bits: int, *, signed: bool) -> NDArray[Any]:
    generator = np.random.default_rng(dice.randrange(2**32))
    shape = tuple(dice.randint(2, 9) for _ in range(3))
    least = -(1 << (bits - 1)) if signed else 0
    values = generator.integers(least, least + (1 << bits), shape)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def _right_handed(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """DICOM has no mirrored volumes: slices go up along the normal."""
    return np.column_stack([axes[:, 0], axes[:, 1], np.cross(axes[:, 0], axes[:, 1])])


def _header(pixels: NDArray[Any], bits: int, *, signed: bool) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("slice.dcm", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SamplesPerPixel = "CT", 1
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.itemsize, bits, bits - 1
    data.PixelRepresentation = int(signed)
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    return data


def _save(data: FileDataset, path: Path, syntax: Any) -> None:
    data.file_meta.TransferSyntaxUID = syntax
    data["PixelData"].VR = "OB" if data.BitsAllocated == 8 and syntax != ImplicitVRLittleEndian else "OW"
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def read_dicom(path: Path) -> Seen:
    """By SimpleITK, with the slices in GDCM's order, high values bright."""
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(path.with_suffix("")))
    image = SimpleITK.ReadImage(names)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Seen(SimpleITK.GetArrayFromImage(image), _LPS @ affine)

"""What the tests of formats share: one small volume, saved in each format by libraries other than ours."""

import zipfile
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

VOXELS = np.random.default_rng(5).integers(0, 1000, (6, 30, 40), np.uint16)


def write_dicom_slice(path: Path, pixels: np.ndarray, **changes) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    fields = {
        "SeriesInstanceUID": "1.2.3.4",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelSpacing": [0.5, 0.25],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0],
        "PixelData": pixels.tobytes(),
    }
    for name, value in (fields | changes).items():
        if value is not None:
            setattr(data, name, value)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def write_dicom_series(folder: Path, voxels: np.ndarray, *, step: float = 2.0) -> Path:
    """Slices whose names are in another order than their positions."""
    folder.mkdir(exist_ok=True)
    for index, plane in enumerate(voxels):
        name = f"slice{(index * 7) % 11}.dcm"
        write_dicom_slice(folder / name, plane, ImagePositionPatient=[1.0, 2.0, 3.0 + index * step])
    return folder


def zip_folder(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("scan", data=VOXELS, chunks=(2, 16, 16), compression="gzip", fletcher32=True)
        data.attrs["element_size_um"] = (2000.0, 500.0, 250.0)


def _slices_zip(path: Path) -> None:
    folder = path.with_suffix("")
    folder.mkdir()
    for index, plane in enumerate(VOXELS):
        tifffile.imwrite(folder / f"slice_{index + 7}.tif", plane)
    zip_folder(folder, path)


_SAVERS = {
    "plain.nii": lambda path: nib.Nifti1Image(VOXELS.T, np.eye(4)).to_filename(path),
    "packed.nii.gz": lambda path: nib.Nifti1Image(VOXELS.T, np.eye(4)).to_filename(path),
    "plain.nrrd": lambda path: sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path), False),
    "packed.nrrd": lambda path: sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path), True),
    "plain.mha": lambda path: sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path), False),
    "packed.mha": lambda path: sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path), True),
    "plain.tif": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack"),
    "lzw.tif": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack", compression="lzw"),
    "deflated.tif": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack", compression="zlib"),
    "scan.h5": _hdf5,
    "dicom.zip": lambda path: zip_folder(write_dicom_series(path.with_suffix(""), VOXELS), path),
    "slices.zip": _slices_zip,
}

SAMPLES = tuple(_SAVERS)


@pytest.fixture(scope="session")
def voxels() -> np.ndarray:
    return VOXELS


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> dict[str, Path]:
    """Name -> path of the same voxels in every format."""
    folder = tmp_path_factory.mktemp("samples")
    for name, save in _SAVERS.items():
        save(folder / name)
    return {name: folder / name for name in _SAVERS}


@pytest.fixture(scope="session")
def dicom_slice():
    return write_dicom_slice


@pytest.fixture(scope="session")
def dicom_series():
    return write_dicom_series


@pytest.fixture(scope="session")
def zipped():
    return zip_folder


def pytest_generate_tests(metafunc):
    if "sample" in metafunc.fixturenames:
        metafunc.parametrize("sample", SAMPLES)

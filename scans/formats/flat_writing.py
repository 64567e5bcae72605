"""Formats that are a header and then the voxels, x fastest, plain or deflated: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from scans.formats.nifti_writing import nifti_header
from scans.formats.writing import SlabWriter, Target

GZIP_LEVEL = 4
"""Segmentations shrink a hundredfold at any level; this one is fast."""


@dataclass(frozen=True)
class FlatWriter:
    """Appends voxels to an open stream."""

    stream: BinaryIO | BufferedIOBase

    def write(self, slab: NDArray[Any]) -> None:
        """The next slices, contiguous, of the type that the header names."""
        self.stream.write(slab.reshape(-1).view(np.uint8).data)


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


def gzip_stream(file: BinaryIO, stack: ExitStack) -> BufferedIOBase:
    """A gzip stream without name and time, at the file's present position."""
    return stack.enter_context(gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0))


def _nifti_header(target: Target) -> bytes:
    labels = target.organs is not None
    return nifti_header(shape=target.shape, dtype=target.dtype, frame=target.frame, labels=labels)

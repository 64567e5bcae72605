"""HDF5: one data set, chunked by slice and deflated, with `element_size_um` as ilastik and Fiji read it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from scans.formats.writing import FormatWriter, Target

DATASET = "volume"
_CHUNK_SIDE = 256
_DEFLATE_LEVEL = 4


@dataclass
class _Hdf5Writer:
    data: h5py.Dataset
    written: int = 0

    def write(self, slab: NDArray[Any]) -> None:
        self.data[self.written : self.written + len(slab)] = slab
        self.written += len(slab)

    def finish(self) -> None:
        """The file ends where it is closed."""


def create_hdf5(target: Target, stack: ExitStack) -> FormatWriter:
    """An .h5 file; organs are the attribute `organs`, JSON of index to name and colour."""
    file = stack.enter_context(h5py.File(target.path, "w"))
    _, y, x = target.shape
    data = file.create_dataset(
        DATASET,
        shape=target.shape,
        dtype=target.dtype,
        chunks=(1, min(y, _CHUNK_SIDE), min(x, _CHUNK_SIDE)),
        compression="gzip",
        compression_opts=_DEFLATE_LEVEL,
        shuffle=True,
        track_times=False,
    )
    data.attrs["element_size_um"] = np.array([step * 1000 for step in target.frame.spacing])
    data.attrs["affine"] = target.frame.matrix
    if target.organs:
        data.attrs["organs"] = json.dumps(target.organs.to_mapping())
    return _Hdf5Writer(data)

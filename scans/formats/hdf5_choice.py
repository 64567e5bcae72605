"""Which data set of an HDF5 file is the volume: the one that was asked for, that is alone, or that the file says it is.

NeXus says so by its attributes `default` and `signal`; beside the volume of a Data Exchange file lie white and dark
fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from scans.formats.axes import leading_axes
from scans.formats.errors import ONE_VOLUME, FormatError, how_to_name
from scans.formats.hdf5_contents import data_sets, link_kind
from scans.formats.hdf5_packed import name_of

_MOST_LINKS = 32
_MOST_LISTED = 8
_CALIBRATION = frozenset({"white", "whites", "dark", "darks", "flat", "flats"})
"""Words in the last part of a name: fields taken without a sample."""


def chosen_data_set(path: Path, file: h5py.File, name: str | None) -> tuple[h5py.Dataset, tuple[str, ...]]:
    """The data set that is the volume, and what to say of those that were passed over.

    `name` is that of a data set, or the last part of it where there is one such. Raises FormatError that lists the data
    sets where there is none of that name, or where it cannot be told which is the volume.
    """
    found = data_sets(path, file)
    volumes = [data for data in found if data.shape is not None and leading_axes(data.shape) is not None]
    if name is not None:
        return _named(path, file, found, name), ()
    if len(volumes) == 1:
        return volumes[0], ()
    stated = _stated(file, volumes)
    scans = [data for data in volumes if not _is_calibration(str(data.name).rpartition("/")[2])]
    chosen = stated or (scans[0] if len(scans) == 1 else None)
    if chosen is None:
        candidates = volumes or [data for data in found if data.shape is not None]
        accepted = "HDF5 with one data set of axes z, y, x"
        if volumes:
            accepted += f"; or name one: {how_to_name(name_of(volumes[0]))}"
        raise FormatError(path, f"{len(volumes)} data sets of three axes: {_listed(candidates)}", accepted)
    others = [data for data in volumes if data != chosen]
    return chosen, (f"data set {name_of(chosen)} was read; passed over: {_listed(others)}",)


def _is_calibration(name: str) -> bool:
    words = "".join(letter if letter.isalpha() else " " for letter in name.lower()).split()
    return not _CALIBRATION.isdisjoint(words)


def _named(path: Path, file: h5py.File, found: Sequence[h5py.Dataset], name: str) -> h5py.Dataset:
    data = _inside(file, name)
    if not isinstance(data, h5py.Dataset):
        ending = f"/{name.strip('/')}"
        alike = [one for one in found if str(one.name).endswith(ending)]
        if len(alike) != 1:
            raise FormatError(
                path, f"no data set {name.removeprefix('/')[:80]!r}", f"the name of one in the file: {_listed(found)}"
            )
        data = alike[0]
    if data.shape is None or leading_axes(data.shape) is None:
        raise FormatError(path, f"data set {_listed([data])}", ONE_VOLUME)
    return data


def _stated(file: h5py.File, volumes: Sequence[h5py.Dataset]) -> h5py.Dataset | None:
    """What NeXus's attributes call the signal, where that is one of the volumes."""
    group = file
    for _ in range(_MOST_LINKS):
        signal = _inside(group, _text(group.attrs.get("signal")))
        if isinstance(signal, h5py.Dataset):
            return signal if signal in volumes else None
        default = _inside(group, _text(group.attrs.get("default")))
        if not isinstance(default, h5py.Group):
            break
        group = default
    marked = [data for data in volumes if _is_signal(data)]
    return marked[0] if len(marked) == 1 else None


def _is_signal(data: h5py.Dataset) -> bool:
    """Whether it is marked itself, in the older way, or by the group that it is in."""
    name = str(data.name).rpartition("/")[2]
    return _text(data.attrs.get("signal")) == "1" or _text(data.parent.attrs.get("signal")) == name


def _inside(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """What a name leads to within the file, through links of its own; None where it leads out of it, or nowhere."""
    here, steps, hops = _root_of(group, name), _steps(name), 0
    if not steps:
        return None
    while steps:
        step = steps.pop()
        kind = link_kind(here, step) if isinstance(here, h5py.Group) else None
        if kind == h5py.h5l.TYPE_HARD:
            here = here[step]
        elif kind == h5py.h5l.TYPE_SOFT and hops < _MOST_LINKS:
            hops += 1
            target = here.get(step, getlink=True).path
            here, steps = _root_of(here, target), [*steps, *_steps(target)]
        else:
            return None
    return here


def _root_of(group: h5py.Group, name: str) -> h5py.Group:
    return group.file if name.startswith("/") else group


def _steps(name: str) -> list[str]:
    """The parts of a name, the last one first."""
    return [step for step in reversed(name.split("/")) if step not in ("", ".")]


def _text(value: object) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)


def _listed(data_sets: Sequence[h5py.Dataset]) -> str:
    listed = ", ".join(
        f"{name_of(data)} {' x '.join(str(n) for n in data.shape or ())} {data.dtype}"
        for data in data_sets[:_MOST_LISTED]
    )
    more = f" and {len(data_sets) - _MOST_LISTED} more" if len(data_sets) > _MOST_LISTED else ""
    return f"{listed}{more}" if listed else "the file is empty"

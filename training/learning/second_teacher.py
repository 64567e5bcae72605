"""A second Teacher, who labels with the first; what serves is one network, which their labels taught.

It is trained as the Teacher is, on as many patches, from other weights. Shown slices, it errs in other places, for it
learnt in another order (Lakshminarayanan et al. 2017). Shown planes across z, y and x in equal parts, it sees in some
what is hard to tell in others (Zhou et al. 2019, see `training.learning.fusion`): it gives votes along y and x, which
are worth something where voxels are about as high as they are wide. Of slices the probabilities of both are averaged.
Not in the paper.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.geometry import Triple
from scans.intensity import Window
from scans.mapped_array import mapped_array
from scans.organs import OrganMap
from training.data.planes import ACROSS, Axis, Planes, order_of, write_reformatted
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader
from training.learning.ensemble import Ensemble
from training.learning.fusion import Vote, vote
from training.learning.loop import Epoch
from training.learning.networks import Architecture
from training.learning.prediction import logits_predictor
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR
from training.learning.supervised import Reformatted, Teaching
from training.params import Mirror, SecondTeacher
from training.recipe import Supervised

NAME = "pseudo_label_second_teacher"
SECOND = 2
"""Beside the seed of both Teachers: the first weights of this one are others."""


def train_second_teacher(
    recipe: Supervised,
    catalogue: Catalogue,
    shown: SecondTeacher,
    architecture: Architecture,
    *,
    seed: int,
    ranks: Processes,
    report: Callable[[Epoch], None],
    scratch: Path,
    prepared_dir: Path = PREPARED_DIR,
) -> nn.Module:
    """A network that has learnt from the labelled training volumes; its weights depend on `seed`, as the Teacher's do.

    For planes these lie in the folder `scratch` twice more meanwhile, packed as the prepared ones are. `report` is
    called with each epoch when it is over. Call `forget_second_teacher` when what the network is for has been written.
    """
    volumes, reader = catalogue.split("train"), SliceReader(prepared_dir, cache_megabytes=0)
    with tempfile.TemporaryDirectory(prefix=".reformatted", dir=scratch) as folder:
        reformatted = []
        for axis in ACROSS if shown == "three_axes" else ():
            of_axis = Path(folder) / f"axis_{axis}"
            of_axis.mkdir()
            records = (write_reformatted(of_axis, v, axis, reader=reader, organs=catalogue.organs) for v in volumes)
            reformatted.append(Reformatted(axis, of_axis, tuple(records)))
        teaching = Teaching(
            name=NAME,
            volumes=volumes,
            organs=catalogue.organs,
            architecture=architecture,
            recipe=recipe,
            seed=int(np.random.SeedSequence([seed, SECOND]).generate_state(1)[0]),
            epoch_slices=catalogue.slices("train", "reserve"),
            prepared_dir=prepared_dir,
            reformatted=tuple(reformatted),
        )
        network = teaching.new_network()
        for epoch in teaching.epochs(network, ranks):
            report(epoch)
    return network


def forget_second_teacher() -> None:
    """Removes its resume file, if there is one."""
    (RESUME_DIR / f"{NAME}.pt").unlink(missing_ok=True)


@dataclass(frozen=True)
class View:
    """A network, and the axis of the volumes that it looks along."""

    axis: Axis
    network: nn.Module

    def probabilities(self, planes: NDArray[Any], window: Window, *, pixels: int) -> Iterator[tuple[int, Tensor]]:
        """Of raw grey values (planes, rows, columns) across the axis, some planes at a time: the number of the first,
        and float32 (planes, classes, rows, columns) on the device.

        At most `pixels` go through the network together, or one plane that has more.
        """
        logits_of = logits_predictor(self.network, window=window, as_trained=True)
        together = planes_of(pixels, planes.shape)
        for first in range(0, len(planes), together):
            yield first, torch.softmax(logits_of(planes[first : first + together]).float(), dim=1)


def planes_of(pixels: int, shape: tuple[int, ...]) -> int:
    """How many planes of (planes, rows, columns) have no more pixels than that; one at least."""
    return max(1, pixels // (shape[1] * shape[2]))


def views_of(
    teacher: nn.Module, second: nn.Module | None, shown: SecondTeacher, organs: OrganMap, *, mirror: Mirror
) -> tuple[View, ...]:
    """The Teacher's along z, or of both where there is a second; that one's along y and x, if it was shown these.

    Each sees a plane and its mirror image along `mirror` too, where that axis lies in the plane.
    """
    networks = [teacher] if second is None else [teacher, second]
    across = ACROSS if second is not None and shown == "three_axes" else ()
    return (
        View(0, Ensemble(networks, organs, mirror=mirror)),
        *(View(axis, Ensemble(networks[1:], organs, mirror=_in_planes(mirror, axis))) for axis in across),
    )


def _in_planes(mirror: Mirror, axis: Axis) -> Mirror:
    """The axis of volumes as that of their planes: `y` where it runs along the rows' numbers, `x` the columns'."""
    _, rows, columns = order_of(axis)
    if mirror == "none":
        return mirror
    mirrored = {"y": 1, "x": 2}[mirror]
    if mirrored == rows:
        return "y"
    return "x" if mirrored == columns else "none"


class StoredVotes:
    """The votes on a whole volume of what sees it along y or x, on disk until they are fused: three bytes a voxel.

    The files hold plane after plane, as they are made. Raises OSError where there is no room for them.
    """

    def __init__(self, folder: Path, axis: Axis, shape: Triple) -> None:
        folder.mkdir()
        self._axis = axis
        planes = tuple(shape[of_volume] for of_volume in order_of(axis))
        self._classes = mapped_array(folder / "classes", dtype=np.dtype(np.uint8), shape=planes)
        self._probability = mapped_array(folder / "probability", dtype=np.dtype(np.float16), shape=planes)

    def fill(self, view: View, array: Any, window: Window, partners: Tensor, *, pixels: int) -> Iterator[int]:
        """From the (Z, Y, X) grey values of the volume, as `vote` says; gives the index of each done plane."""
        planes = Planes(array, self._axis)
        depth = planes_of(pixels, planes.shape)
        for start in range(0, planes.shape[0], depth):
            for first, seen in view.probabilities(planes[start : start + depth], window, pixels=pixels):
                classes, probability = (tensor.cpu().numpy() for tensor in vote(seen, partners.to(seen.device)))
                done = slice(start + first, start + first + len(classes))
                self._classes[done], self._probability[done] = classes, probability
                yield from range(done.start, done.stop)

    def slices(self, start: int, stop: int, device: torch.device) -> Vote:
        """Of the slices [start, stop) of the volume: each (stop - start, Y, X), on the device."""
        own = (array[:, start:stop] for array in (self._classes, self._probability))  # z is the planes' rows
        classes, probability = (torch.from_numpy(_upright(planes, self._axis)).to(device) for planes in own)
        return Vote(classes, probability.float())


def _upright(planes: NDArray[Any], axis: Axis) -> NDArray[Any]:
    """Planes (planes, Z, other) across y or x as slices, (Z, Y, X)."""
    return np.ascontiguousarray(np.moveaxis(planes, 0, axis))

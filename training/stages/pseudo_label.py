"""pseudo_label: the Teacher over every slice of every unlabelled volume (section 2.1 of the paper).

With `pseudo_label.second_teacher` another Teacher is trained here, on slices or on planes across all three axes, or
as the Teacher's Student, and the labels are fused from what both say (see `training.learning.second_teacher`, and
`training.learning.first_student`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.organs import OrganMap
from training.command import run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, Confidence, PseudoLabelReader, PseudoLabelWriter
from training.learning.checkpoints import TEACHER, load_architecture, load_network
from training.learning.first_student import train_first_student
from training.learning.fusion import fused, organ_means
from training.learning.loop import Epoch
from training.learning.processes import Processes
from training.learning.run_training import run_training
from training.learning.second_teacher import StoredVotes, View, forget_second_teacher, train_second_teacher, views_of
from training.params import Params, PseudoLabel
from training.progress import track
from training.run_stage import Report


def main() -> None:
    """Runs the stage in the repository root."""
    run_training("pseudo_label", _pseudo_label)


def _pseudo_label(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report:
    section, catalogue = params.pseudo_label, Catalogue.read()
    shutil.rmtree(PSEUDO_LABELS_DIR, ignore_errors=True)
    PSEUDO_LABELS_DIR.mkdir(parents=True)
    second = None
    if section.second_teacher != "none" and catalogue.split("unlabelled"):
        second = _second(section, catalogue, seed=params.seed, ranks=ranks, report=report)
    confidence = _labelled(section, catalogue, second)
    forget_second_teacher()
    return Report(figures={f"confidence.{volume_id}": mean for volume_id, mean in confidence.items()})


def _second(
    section: PseudoLabel, catalogue: Catalogue, *, seed: int, ranks: Processes, report: Callable[[Epoch], None]
) -> nn.Module:
    """The second Teacher; where it is the first's Student, the first labels alone beforehand."""
    if section.second_teacher == "student":
        _labelled(section, catalogue, None)
        return train_first_student(
            section.supervised, catalogue, labels_dir=PSEUDO_LABELS_DIR, seed=seed, ranks=ranks, report=report
        )
    return train_second_teacher(
        section.supervised,
        catalogue,
        section.second_teacher,
        load_architecture(TEACHER),
        seed=seed,
        ranks=ranks,
        report=report,
        scratch=PSEUDO_LABELS_DIR,
    )


def _labelled(section: PseudoLabel, catalogue: Catalogue, second: nn.Module | None) -> dict[str, float]:
    views = views_of(load_network(TEACHER), second, section.second_teacher, catalogue.organs, mirror=section.mirror)
    return pseudo_label(views, prepared_dir=PREPARED_DIR, output_dir=PSEUDO_LABELS_DIR, batch_size=section.batch_size)


def pseudo_label(views: Sequence[View], *, prepared_dir: Path, output_dir: Path, batch_size: int) -> dict[str, float]:
    """Writes the pseudo-labels of every unlabelled volume; returns the mean confidence of each, 0..1.

    The first of `views` is along z. Of a volume no more than a shard of slices, or a chunk's side of other planes, is
    in memory; votes along y and x take six bytes a voxel on disk, for one volume at a time. What was in
    `output_dir` before is removed first: after an interruption the labels are made anew.
    """
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    catalogue = Catalogue.read(prepared_dir)
    records = catalogue.split("unlabelled")
    labelling = Labelling(views, catalogue.organs, SliceReader(prepared_dir, cache_megabytes=0), output_dir, batch_size)
    planes = chain.from_iterable(labelling.of(record) for record in records)
    total = sum(record.shape[view.axis] for record in records for view in views)
    for _ in track(planes, description="Pseudo-labels", total=total, unit="slice"):
        pass
    store = PseudoLabelReader(output_dir)
    return {record.id: float(store.confidence(record.id).mean()) for record in records}


@dataclass(frozen=True)
class Labelling:
    """How the volumes of a data set are labelled."""

    views: Sequence[View]
    organs: OrganMap
    images: SliceReader
    output_dir: Path
    batch_size: int

    def of(self, record: VolumeRecord) -> Iterator[int]:
        """Labels and writes one volume, a shard of slices at a time; gives the index of each done plane."""
        with (
            tempfile.TemporaryDirectory(prefix=".votes", dir=self.output_dir) as folder,
            PseudoLabelWriter(self.output_dir, record.id, record.shape) as writer,
        ):
            stored: list[StoredVotes] = []
            for view in self.views[1:]:
                stored.append(votes := StoredVotes(Path(folder) / f"axis_{view.axis}", view.axis, record.shape))
                image = self.images.array(record.id, "image")
                yield from votes.fill(view, image, record.window, self._partners(), pixels=self._pixels(record))
            for box, slab in self.images.volume(record).slabs(shard_slices(record.shape, np.dtype(np.uint8))):
                writer.write(box, *self._fused(record, box.start[0], slab, stored))
                yield from range(box.start[0], box.stop[0])

    def _fused(
        self, record: VolumeRecord, start: int, slab: NDArray[Any], stored: Sequence[StoredVotes]
    ) -> tuple[NDArray[np.uint8], Confidence]:
        """Of the slab that begins at slice `start`: classes (z, Y, X), and how sure they are."""
        classes, confidence = np.empty(slab.shape, dtype=np.uint8), np.empty(len(slab), dtype=np.float32)
        of_organs = np.empty((len(slab), len(self.organs)), dtype=np.float32)
        for first, seen in self.views[0].probabilities(slab, record.window, pixels=self._pixels(record)):
            stop = first + len(seen)
            votes = [of_view.slices(start + first, start + stop, seen.device) for of_view in stored]
            best, certainty = fused(seen, votes, self._partners().to(seen.device))
            classes[first:stop] = best.cpu().numpy()
            confidence[first:stop] = certainty.mean(dim=(1, 2)).cpu().numpy()
            of_organs[first:stop] = organ_means(certainty, best, organs=len(self.organs)).cpu().numpy()
        return classes, Confidence(confidence, of_organs)

    def _pixels(self, record: VolumeRecord) -> int:
        """That go through a network together: those of so many slices."""
        return self.batch_size * record.shape[1] * record.shape[2]

    def _partners(self) -> Tensor:
        """int64 (classes,): of each class the one on the other side."""
        return torch.from_numpy(self.organs.mirrored.astype(np.int64))


if __name__ == "__main__":
    run_command("pseudo_label", main)

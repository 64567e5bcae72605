"""pseudo_label: the Teacher over every slice of every unlabelled volume (section 2.1 of the paper).

With `pseudo_label.three_axes` a second Teacher, who is trained here, looks along all three axes of a volume, and the
labels are fused from what both say (see `training.learning.multiplanar`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from training.command import run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelReader, PseudoLabelWriter
from training.learning.checkpoints import TEACHER, load_architecture, load_network
from training.learning.fusion import fused
from training.learning.loop import Epoch
from training.learning.multiplanar import Look, SecondTeacher, StoredOpinion, looks_of
from training.learning.processes import Processes
from training.learning.run_training import run_training
from training.params import Params
from training.progress import track
from training.run_stage import Report


def main() -> None:
    """Runs the stage in the repository root."""
    run_training("pseudo_label", _pseudo_label)


def _pseudo_label(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report:
    section, catalogue = params.pseudo_label, Catalogue.read()
    second = SecondTeacher(section, catalogue, load_architecture(TEACHER), params.seed)
    confidence = pseudo_label(
        looks_of(
            load_network(TEACHER),
            second.trained(ranks, report) if section.three_axes else None,
            catalogue.organs,
            mirror=section.mirror,
        ),
        prepared_dir=PREPARED_DIR,
        output_dir=PSEUDO_LABELS_DIR,
        batch_size=section.batch_size,
    )
    second.forget(ranks)
    return Report(figures={f"confidence.{volume_id}": mean for volume_id, mean in confidence.items()})


def pseudo_label(looks: Sequence[Look], *, prepared_dir: Path, output_dir: Path, batch_size: int) -> dict[str, float]:
    """Writes the pseudo-labels of every unlabelled volume; returns the mean confidence of each, 0..1.

    The first of `looks` is along z. Of a volume no more than a shard of slices, or a chunk's side of other planes, is
    in memory. What was in `output_dir` before is removed first: after an interruption the labels are made anew.
    """
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    records = Catalogue.read(prepared_dir).split("unlabelled")
    reader = SliceReader(prepared_dir, cache_megabytes=0)
    planes = chain.from_iterable(
        _pseudo_labelled(looks, record, reader=reader, output_dir=output_dir, batch_size=batch_size)
        for record in records
    )
    total = sum(record.shape[look.axis] for record in records for look in looks)
    for _ in track(planes, description="Pseudo-labels", total=total, unit="slice"):
        pass
    store = PseudoLabelReader(output_dir)
    return {record.id: float(store.confidence(record.id).mean()) for record in records}


def _pseudo_labelled(
    looks: Sequence[Look], record: VolumeRecord, *, reader: SliceReader, output_dir: Path, batch_size: int
) -> Iterator[int]:
    """Labels and writes one volume, a shard of slices at a time; gives the index of each done plane."""
    along_z, *others = looks
    pixels = batch_size * record.shape[1] * record.shape[2]
    image = reader.array(record.id, "image")
    with tempfile.TemporaryDirectory(prefix=".opinions", dir=output_dir) as folder:
        seen: list[StoredOpinion] = []
        for look in others:
            seen.append(stored := StoredOpinion(Path(folder) / f"axis_{look.axis}", record.shape))
            for first, opinion in look.opinions(image, record.window, pixels=pixels):
                stored.write(look.axis, first, opinion)
                yield from range(first, first + len(opinion.classes))
        with PseudoLabelWriter(output_dir, record.id, record.shape) as writer:
            for box, slab in reader.volume(record).slabs(shard_slices(record.shape, np.dtype(np.uint8))):
                own = along_z.opinion(slab, record.window, pixels=pixels)
                classes, certainty = fused([own, *(stored.slab(box.start[0], box.stop[0]) for stored in seen)])
                writer.write(box, classes, certainty.mean(axis=(1, 2)))
                yield from range(box.start[0], box.stop[0])


if __name__ == "__main__":
    run_command("pseudo_label", main)

"""pseudo_label: the Teacher over every slice of every unlabelled volume (section 2.1 of the paper)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.tiling import segment
from scans.volume import Volume
from training.command import run_command
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelReader, PseudoLabelWriter
from training.learning.checkpoints import TEACHER, load_network
from training.learning.ensemble import Ensemble
from training.learning.prediction import predictor
from training.params import Params
from training.progress import track
from training.run_stage import Report, run_stage
from training.tracking.runs import StageRun


def main() -> None:
    """Runs the stage in the repository root."""
    run_stage("pseudo_label", _pseudo_label)


def _pseudo_label(params: Params, _run: StageRun) -> Report:
    teacher = load_network(TEACHER)
    confidence = pseudo_label(
        Ensemble([teacher], Catalogue.read().organs, mirror=params.pseudo_label.mirror),
        prepared_dir=PREPARED_DIR,
        output_dir=PSEUDO_LABELS_DIR,
        batch_size=params.pseudo_label.batch_size,
    )
    return Report(figures={f"confidence.{volume_id}": mean for volume_id, mean in confidence.items()})


def pseudo_label(network: nn.Module, *, prepared_dir: Path, output_dir: Path, batch_size: int) -> dict[str, float]:
    """Writes the pseudo-labels of every unlabelled volume; returns the mean confidence of each, 0..1.

    `network` takes float32 (N, 1, H, W) and gives (N, K, H, W) logits. Of a volume no more than one shard of slices
    is in memory. What was in `output_dir` before is removed first: after an interruption the stage starts over.
    """
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    records = Catalogue.read(prepared_dir).split("unlabelled")
    reader = SliceReader(prepared_dir, cache_megabytes=0)
    slices = chain.from_iterable(
        _pseudo_labelled(network, record, volume=reader.volume(record), output_dir=output_dir, batch_size=batch_size)
        for record in records
    )
    for _ in track(slices, description="Pseudo-labels", total=sum(record.shape[0] for record in records), unit="slice"):
        pass
    store = PseudoLabelReader(output_dir)
    return {record.id: float(store.confidence(record.id).mean()) for record in records}


def _pseudo_labelled(
    network: nn.Module, record: VolumeRecord, *, volume: Volume, output_dir: Path, batch_size: int
) -> Iterator[int]:
    """Segments and writes one volume, a shard of slices at a time; gives the index of each done slice."""
    forward = predictor(network, window=record.window)
    slab_slices = shard_slices(record.shape, np.dtype(np.uint8))
    with PseudoLabelWriter(output_dir, record.id, record.shape) as writer, _confidence_of(network) as means:
        for box, labels in segment(volume, forward, slab_slices=slab_slices, batch_size=batch_size):
            writer.write(box, labels, np.concatenate(means))
            means.clear()
            yield from range(box.start[0], box.stop[0])


@contextmanager
def _confidence_of(network: nn.Module) -> Iterator[list[NDArray[np.float32]]]:
    """Collects, while the network segments, the mean winning probability of each slice: one (N,) array a batch."""
    means: list[NDArray[np.float32]] = []

    def collect(_network: nn.Module, _inputs: Any, logits: Tensor) -> None:
        winning = torch.softmax(logits.detach().float(), dim=1).amax(dim=1)
        means.append(winning.mean(dim=(1, 2)).cpu().numpy())

    hook = network.register_forward_hook(collect)
    try:
        yield means
    finally:
        hook.remove()


if __name__ == "__main__":
    run_command("pseudo_label", main)

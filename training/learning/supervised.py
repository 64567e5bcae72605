"""How a Teacher is trained on labelled volumes: by train_teacher on all of them, by label_quality on parts of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from scans.organs import OrganMap
from training.data.patches import PatchReader
from training.data.planes import Axis
from training.data.prepared import PREPARED_DIR, SliceReader, VolumeRecord
from training.learning.loop import Epoch, Plan, steps_per_epoch, train
from training.learning.losses import supervised_loss
from training.learning.networks import Architecture, SegmentationNetwork, build_unet
from training.learning.pools import Pool, labelled_pool
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR, ResumeFile, fingerprint
from training.learning.sampling import Batch, PatchBatches
from training.profiles import to_dict
from training.recipe import Supervised


@dataclass(frozen=True)
class Reformatted:
    """Volumes whose slices are planes across another axis."""

    axis: Axis
    folder: Path
    volumes: tuple[VolumeRecord, ...]


@dataclass(frozen=True)
class Teaching:
    """All that the weights of one Teacher depend on."""

    name: str
    """Of the progress bar and of the resume file; the patches that are drawn depend on it."""
    volumes: tuple[VolumeRecord, ...]
    """Labelled volumes to learn from."""
    organs: OrganMap
    architecture: Architecture
    recipe: Supervised
    seed: int
    epoch_slices: int = 0
    """How many slices an epoch is as long as, where the schedule leaves that open; 0: those of the volumes."""
    prepared_dir: Path = PREPARED_DIR
    reformatted: tuple[Reformatted, ...] = ()
    """The same volumes as other planes; each gives as many patches as the slices do."""

    def new_network(self) -> SegmentationNetwork:
        """A network with new weights, which depend on the seed."""
        torch.manual_seed(self.seed)
        return build_unet(self.architecture)

    def resume(self, processes: Processes) -> ResumeFile:
        """Where the training's state is kept; to be removed when the checkpoint has been written."""
        key = fingerprint(
            self.name,
            asdict(self.architecture),
            to_dict(self.recipe),
            self.seed,
            self.organs.to_mapping(),
            [(volume.id, volume.sha256, volume.affine, asdict(volume.window)) for volume in self.volumes],
            self.epoch_slices,
            [planes.axis for planes in self.reformatted],
            processes.world_size,
            processes.arithmetic,
            torch.__version__,
        )
        return ResumeFile(RESUME_DIR / f"{self.name}.pt", key)

    def epochs(self, network: SegmentationNetwork, processes: Processes) -> Iterator[Epoch]:
        """Trains the network in place with the supervised loss; yields each epoch when it is over."""
        recipe = self.recipe
        pools = self._pools()
        batches = PatchBatches(
            pools=pools,
            shares=(1 / len(pools),) * len(pools),
            organs=self.organs,
            sampling=recipe.sampling,
            augmentation=recipe.augmentation,
            batch_size=recipe.schedule.batch_size,
            stage=self.name,
            seed=self.seed,
            rank=processes.rank,
            world_size=processes.world_size,
        )
        plan = Plan(
            name=self.name,
            schedule=recipe.schedule,
            steps_per_epoch=steps_per_epoch(recipe.schedule, slices=self.epoch_slices or batches.slices),
            workers=recipe.workers,
            resume=self.resume(processes),
        )

        def objective(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            return supervised_loss(model(batch.images), batch.labels, dice_weight=recipe.dice_weight)

        yield from train(network, batches, objective, change=batches.shown, plan=plan, processes=processes)

    def _pools(self) -> tuple[Pool, ...]:
        sampling = self.recipe.sampling
        all_planes = (Reformatted(0, self.prepared_dir, self.volumes), *self.reformatted)
        megabytes = sampling.cache_megabytes // len(all_planes)
        return tuple(
            labelled_pool(
                planes.volumes,
                self.organs,
                reader=PatchReader(SliceReader(planes.folder, cache_megabytes=0), cache_megabytes=megabytes),
                fewest_pixels=sampling.fewest_pixels,
                axis=planes.axis,
            )
            for planes in all_planes
        )

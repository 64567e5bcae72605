"""Batches of the patches of a tiny data set, for the tests of what is drawn and of where from."""

from pathlib import Path

from tests.training.tiny_volumes import STILL
from training.data.patches import PatchReader
from training.data.prepared import Catalogue, SliceReader
from training.learning.pools import labelled_pool
from training.learning.sampling import Batch, PatchBatches
from training.recipe import Sampling


def patches_of(folder: Path, *, megabytes: int = 1) -> PatchReader:
    return PatchReader(SliceReader(folder, cache_megabytes=0), cache_megabytes=megabytes)


def shown(batches: PatchBatches, step: int) -> Batch:
    return batches.shown(batches[step])


def batches_of(root: Path, *, crop: int = 16, organ_share: float = 0.5, megabytes: int = 10) -> PatchBatches:
    prepared = root / "data" / "prepared"
    catalogue = Catalogue.read(prepared)
    reader = patches_of(prepared, megabytes=megabytes)
    return PatchBatches(
        pools=(labelled_pool(catalogue.split("train"), catalogue.organs, reader=reader),),
        shares=(1.0,),
        organs=catalogue.organs,
        sampling=Sampling(crop, organ_share=organ_share, fewest_pixels=0, cache_megabytes=megabytes),
        augmentation=STILL,
        batch_size=4,
        stage="train_teacher",
        seed=1,
    )

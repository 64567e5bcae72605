"""params.yaml, parsed once and frozen. A key that is unknown or missing, or a value of another type or out of the range
that stands beside its field, is an error naming it.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from scans.precision import Precision
from training.profiles import handed_on, parse, read_profile, spread
from training.ranges import Batch, Count, Name, Number, OptionalName, ProperShare, Range, Seed, Share, Side, Weight
from training.recipe import Supervised, Training

PARAMS_FILE = Path("params.yaml")
RESOLVED_FILE = Path("params.resolved.yaml")
"""The values in force, which DVC compares; stage resolve writes it."""

Mirror = Literal["none", "y", "x"]
"""The axis along which a slice is reflected."""
SecondTeacher = Literal["none", "slices", "three_axes", "student"]
"""Another Teacher, who labels with the first: what it is shown, or that it is the first's Student."""


@dataclass(frozen=True)
class Phantoms:
    """Synthetic fish to make; all 0: none, the raw folder holds real volumes."""

    labelled: Count
    """Fish with labels to train on, all from the first beam time."""
    unlabelled: Count
    """Fish without labels, from the three beam times in turn."""
    validation: Count
    """Held-out fish with labels, from the three beam times in turn."""
    label_every: Number
    """Of the fish to train on, the labels of one slice in so many are known, the middle one of these; 1: of all."""
    depth: Side
    height: Side
    width: Side
    """Voxels along z, y, x."""

    def __post_init__(self) -> None:
        if any(self.wanted) and not (self.labelled and self.validation):
            raise ValueError(
                f"it asks for {self.labelled} labelled and {self.validation} validation fish; at least one of each is "
                "needed, or none of any kind to read raw_dir"
            )

    @property
    def wanted(self) -> tuple[int, int, int]:
        """How many of each kind, in the order of the fields."""
        return self.labelled, self.unlabelled, self.validation


@dataclass(frozen=True)
class Prepare:
    """Stage prepare."""

    raw_dir: Path
    """organs.yaml, labelled/images/*, labelled/labels/*, unlabelled/images/* or unlabelled/EXPERIMENT/*; the key
    `raw_dir` at the top of params.yaml."""
    data_set: OptionalName
    """What models call the data that they are of, however these grow; "": as the raw folder is called."""
    seed: Seed
    """Decides which volumes are held out, in which order a label budget takes the others, and which phantoms are made;
    the `seed` at the top of params.yaml has no say in these."""
    labelled_volumes: Count
    """Training volumes whose labels are used (Table 1: 2, 7, 12, 23); 0: all."""
    validation_share: ProperShare
    """Share of the labelled volumes that is held out, 0..1; of 30 a quarter is 7, halves are rounded down."""
    calibrated: bool
    """Grey values mean the same in every scan (CT): one window, from the labelled organs of the training volumes.
    False: each volume has a window of its own."""
    lower_percentile: Annotated[float, Range(0, 100)]
    upper_percentile: Annotated[float, Range(0, 100)]
    """Percentiles, 0..100, of the grey values that become 0 and 1."""
    phantoms: Phantoms

    def __post_init__(self) -> None:
        lower, upper = self.lower_percentile, self.upper_percentile
        if lower >= upper:
            raise ValueError(f"lower_percentile is {lower!r} and upper_percentile {upper!r}; the lower must be less")


@dataclass(frozen=True)
class TrainTeacher(Supervised):
    """Stage train_teacher."""

    encoder: Name
    """Name of a segmentation-models-pytorch encoder."""
    encoder_depth: Annotated[int, Range(3, 5)]
    """Times that the encoder halves its input, 3 to 5."""


@dataclass(frozen=True)
class PseudoLabel(Supervised):
    """Stage pseudo_label; what train_teacher has as well is as there, unless stated, and is the second Teacher's."""

    batch_size: Batch
    """Slices in a forward pass; of other planes as many as have no more pixels."""
    mirror: Mirror
    """The Teacher is shown the slice's mirror image too, reflected along this axis; none as in the paper."""
    second_teacher: SecondTeacher
    """Another Teacher is trained for the labels alone, and they are fused from what both see: `slices`, from other
    weights and patches; `three_axes`, from planes across all axes of the labelled volumes; `student`, on from the
    Teacher's weights, and on its labels too (a second round); none as in the paper."""


@dataclass(frozen=True)
class LabelQuality(Supervised):
    """Stage label_quality: good and bad examples; what train_teacher has as well is as there, unless stated."""

    slices: Annotated[int, Range(2, 10_000_000)]
    """Examples to make, about."""
    good_iou: Share
    """A predicted slice is good with at least this IoU, the pixels of its organs pooled, 0..1."""
    folds: Annotated[int, Range(2, 1000)]
    """Parts of the labelled training volumes; each is predicted by a Teacher trained on the others."""
    corrupted_share: Share
    """Share of further examples whose masks are true labels, damaged on purpose."""


@dataclass(frozen=True)
class TrainClassifier(Training):
    """Stage train_classifier."""

    folds: Annotated[int, Range(2, 1000)]
    """Parts of the examples' volumes; each is judged by a classifier of the others. The one used learns from all."""
    encoder_depth: Annotated[int, Range(3, 5)]
    """Times that the classifier's encoder halves its input, 3 to 5."""
    side: Side
    """Slices and masks are resized to this many pixels a side."""
    reviewed_weight: Annotated[float, Range(0, 1000, open_below=True)]
    """How many times as often an example that people judged is drawn as one that was made; 1: as often as any other."""
    organ_weight: Weight
    """Weight of the term by which it learns the Dice of each organ in a slice as well, which what serves then expects
    of organs; 0: it says good or bad alone, as in the paper."""


@dataclass(frozen=True)
class Refine:
    """Stage refine."""

    quality_classifier: bool
    """False: every pseudo-label that holds an organ is kept (Table 2)."""
    threshold: Share
    """Least probability of being good, 0..1."""
    keep_empty: bool
    """Keep the slices where the Teacher sees no organ, which the classifier does not judge; true as in the paper."""
    least_confidence: Share
    """An organ's pixels in a slice teach nothing where those who labelled were less sure of them, in the mean; 0: all
    teach, as in the paper."""
    components: bool
    """Leave out the components of an organ that are small beside its largest; how small, label_quality chooses for each
    organ where it cross-fits. False as in the paper."""


@dataclass(frozen=True)
class TrainStudent(Supervised):
    """Stages train_student and train_control. The three switches are the rows of Table 2, and the Student's alone."""

    pseudo_labels: bool
    """Learn from the refined pseudo-labels; false: from labelled slices alone."""
    distillation: bool
    """Add the pixel-wise distillation term (eq. 3, 4)."""
    teacher_checkpoint: bool
    """Start from the Teacher's weights; false: from new ones, which go through the Teacher's schedule first."""
    alpha: Share
    """Weight of the distillation term, 0..1 (eq. 4)."""
    temperature: Annotated[float, Range(0, 1000, open_below=True)]
    """tau, which softens both sides of the distillation term (eq. 3)."""
    clean_view: bool
    """In that term the Teacher sees patches before their grey values were changed; false: as the Student sees them."""
    labelled_share: Share
    """Share of the patches that come from labelled volumes; 0: in proportion to the number of slices."""
    last_labelled: Share
    """Share of the steps, at the end, whose patches all come from labelled volumes. With `one_cycle` these are those of
    the lowest rates."""
    consistency: Weight
    """Weight of the term by which the Student is to answer a changed patch as it answers the patch itself (Yang et al.
    2023, UniMatch); 0: none, as in the paper. For trainings of ten thousand steps and more."""
    balanced_experiments: bool
    """Every experiment gives as many of the pseudo-labelled patches; false: every kept slice, as in the paper."""


@dataclass(frozen=True)
class Evaluate:
    """Stage evaluate."""

    batch_size: Batch
    surface_tolerance_mm: Annotated[float, Range(0, 1000)]
    """How far off, in mm, a surface may be that counts as right in the surface Dice; 0: in each volume the longest side
    of its voxels."""
    figure_slices: Annotated[int, Range(1, 100)]
    """Slices in the overlay figure."""


@dataclass(frozen=True)
class Export:
    """Stage export."""

    name: Name
    """The name that the model says of itself."""
    agreement_slices: Number
    """Real slices on which ONNX and torch are compared."""
    most_disagreement: Share
    """Greatest share of a slice's pixels that may differ, 0..1."""
    precisions: tuple[Precision, ...]
    """Variants in fewer bits to make and to check: int8, float16."""
    precision_slices: Number
    """Labelled validation slices that a variant is checked on."""
    calibration_slices: Number
    """Training slices that int8 takes its scales from."""
    seen_slices: Number
    """Slices of a volume, at most, on which is measured what the model answers to scans like those it has seen."""
    greatest_precision_loss: Share
    """How much lower than in float32 the mean Dice of a variant that is kept may be."""
    greatest_precision_organ_loss: Share
    """How much lower any organ's Dice may be."""


@dataclass(frozen=True)
class Register:
    """Stage register, and the gate of `ricefish models promote`."""

    model: Name
    """Name in the MLflow registry."""
    least_mean_dice: Share
    """No model whose mean Dice is lower becomes champion, be it the first."""
    greatest_mean_loss: Share
    """How much lower than the champion's the mean Dice may be."""
    greatest_organ_loss: Share
    """How much lower than the champion's any organ's Dice may be."""


@dataclass(frozen=True)
class Params:
    """The values of one profile that are in force, in each section all that its stage has."""

    seed: Seed
    """Decides weights, patches and what else the stages after prepare draw. The data have their own: `prepare.seed`."""
    prepare: Prepare
    train_teacher: TrainTeacher
    pseudo_label: PseudoLabel
    label_quality: LabelQuality
    train_classifier: TrainClassifier
    refine: Refine
    train_student: TrainStudent
    evaluate: Evaluate
    export: Export
    register: Register


def load_params(path: Path = PARAMS_FILE) -> Params:
    """The active profile of params.yaml. Raises ParamsError that names the file, or the key at fault."""
    profile = read_profile(path)
    shared = typing.get_type_hints(Supervised)
    values = profile.values
    for taker in ("pseudo_label", "label_quality"):
        values = handed_on(values, [*shared], giver="train_teacher", taker=taker)
    values = spread(values, shared, typing.get_type_hints(Params))
    return typing.cast(Params, parse(Params, values))

"""Model card: what a registered model is, learnt from and reaches, as a page for whoever finds it in the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scans.model.manifest import ModelManifest

CONTROL = "control."
"""What the names of the control's figures begin with in a manifest."""


def card(student: ModelManifest) -> str:
    """The page, in Markdown, of an exported Student."""
    organs = ", ".join(name.replace("_", " ") for name in student.organs.names)
    axes = zip("zyx", student.spacing_mm, strict=True)
    spacing = ", ".join(f"{axis} {low:g} to {high:g}" for axis, (low, high) in axes)
    dirty = ", with changes that were not committed" if student.git_dirty else ""
    lines = [
        f"# {student.name}",
        "",
        "Labels every voxel of a tomography scan with an organ, slice by slice (y, x).",
        "",
        f"- Organs: {organs}.",
        f"- Learnt from: data set {student.data_set or 'without a name'}, SHA-256 {student.data_sha256}.",
        *_corrections(student),
        *_reviews(student),
        f"- Voxel spacing in training, mm: {spacing}. Scans beyond it get a warning.",
        f"- Made at commit {student.git_commit or 'unknown'}{dirty}; MLflow run {student.mlflow_run or 'unknown'}.",
        "",
        "| on the validation volumes | this model | control |",
        "|---|---|---|",
        *_scores(student.metrics),
        "",
        "The control is the Teacher given as many further steps on labelled slices alone: what it reaches as well is "
        "not owed to pseudo-labels.",
        "",
        "In: `slices`, raw grey values (N, Y, X), and `window`, the grey values that are black and white in each.",
        "Out: `segmentation`, the class index of every pixel, 0 for background, and `confidence`, its probability.",
        "`quality_classifier/` tells good slices from bad ones. It has learnt from all its examples; the figures in",
        "its manifest are of classifiers that had not seen the volume that they judged.",
        "`manifest.json` has all else: colours, how a window is found, and a golden slice with its expected answer.",
        "",
        "It is for scans like those that it has learnt from. It is no medical device.",
        "",
    ]
    return "\n".join(lines)


def _corrections(student: ModelManifest) -> Iterator[str]:
    """A line for those volumes, and one below it for each."""
    if student.corrections:
        yield f"- Among them are {len(student.corrections)} volumes whose labels are corrections of a model's answer:"
    for volume, origin in sorted(student.corrections.items()):
        model = f"{origin.model} {origin.model_version}".strip()
        yield f"  - {volume}: {origin.what} at {origin.server}, {origin.corrected}, answered by {model}."


def _reviews(student: ModelManifest) -> Iterator[str]:
    """A line for what people had said of slices, and below it what that taught, and how much teaches nothing."""
    tally = student.reviews
    if tally is None:
        return
    by = f", by {', '.join(tally.reviewers)}" if tally.reviewers else ""
    yield f"- Learnt from reviews: {tally.what}{by}; reviews.csv, SHA-256 {tally.sha256}."
    if tally.counted:
        yield (
            f"  - {tally.examples} are examples of the Quality Classifier; by {tally.on_pseudo_labels}, on the very "
            "masks of the pseudo-labels, those were kept or left out."
        )
    unused = {
        "on other masks than the pseudo-labels have, which are not at hand, or on organs in them": tally.other_masks,
        "on what is not in the data set": tally.other_scans,
        "on what reviewers do not agree on": tally.disputed,
        "on masks of other organs": tally.other_organs,
        "on validation volumes": tally.held_out,
    }
    if tally.counted < tally.given:
        why = ", ".join(f"{count} {what}" for what, count in unused.items() if count)
        yield f"  - The others teach nothing: {why}."


def _scores(metrics: Mapping[str, float]) -> Iterator[str]:
    """A row for each figure of the model, with the control's beside it."""
    for name, value in metrics.items():
        if not name.startswith(CONTROL):
            control = metrics.get(f"{CONTROL}{name}")
            yield f"| {name} | {value:.4f} | {'unknown' if control is None else f'{control:.4f}'} |"

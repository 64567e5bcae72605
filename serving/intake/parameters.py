"""Parameters: what a request says of a scan beside its bytes, in its query, its form or its JSON."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, replace
from functools import partial

from scans.geometry import Spacing
from serving.intake.filename import folder_of, safe_filename
from serving.intake.multipart import Form
from serving.intake.refusals import RequestRefused
from serving.parsing.malformed import shown
from serving.parsing.quantities import real_number
from serving.parsing.texts import checked_name
from serving.queue.jobs import Priority
from serving.queue.scan import Upload

FLAGS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}
"""Every way to say yes or no."""

_FIELDS = frozenset({"filename", "spacing", "priority", "fresh", "sha256", "model", "version", "dataset"})


@dataclass(frozen=True)
class Parameters:
    """What a request says of a scan beside its bytes."""

    filename: str | None = None
    spacing: Spacing | None = None
    """In mm, for files that state none."""
    priority: Priority = Priority.NORMAL
    fresh: bool = False
    """Segment it even if there is a scan of the same bytes for the same model."""
    key: str | None = None
    """The Idempotency-Key: the same key with the same bytes is the same scan."""
    sha256: str | None = None
    """Of the file, as the sender says."""
    model: str | None = None
    """Name of the model to segment it with; None: the default one's."""
    version: str | None = None
    """Version of that model; None: the present one."""
    dataset: str | None = None
    """Which data set of the file is the scan, or which axis of a TIFF is its slices; None: the one that there is."""
    folder: str | None = None
    """That it is fetched from, where the file's name names none."""

    @property
    def safe_filename(self) -> str:
        """The file's name without any folder. Raises RequestRefused if there is none that can be used."""
        if self.filename is None:
            raise RequestRefused("filename is missing; give the file's name, such as fish.nii.gz", field="filename")
        return safe_filename(self.filename)

    def upload(self, name: str, *, sha256: str, size: int) -> Upload:
        """The file that has arrived under a name, with what is said of it."""
        folder = folder_of(self.filename) or self.folder
        return Upload(name, sha256, size, spacing=self.spacing, dataset=self.dataset, folder=folder)

    def stating(self, sha256: str | None) -> Parameters:
        """The same with the SHA-256 that a header states, if it does."""
        return self if sha256 is None else replace(self, sha256=sha256)


def parameters_in_form(form: Form, parameters: Parameters, *, stated: Container[str] = ()) -> Parameters:
    """What the query says, and where it says nothing, the form's fields; `stated` are the names that the query states.

    Raises RequestRefused for an unknown field.
    """
    fields = form.fields
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise RequestRefused(f"the form's field {unknown[0]!r} is unknown", field=unknown[0])
    priority = parse_priority(fields["priority"]) if "priority" in fields else None
    fresh = parse_flag(fields["fresh"], field="fresh") if "fresh" in fields else None
    return replace(
        parameters,
        filename=parameters.filename or fields.get("filename") or form.filename,
        spacing=parameters.spacing or parse_spacing(fields.get("spacing")),
        priority=priority if "priority" not in stated and priority is not None else parameters.priority,
        fresh=fresh if "fresh" not in stated and fresh is not None else parameters.fresh,
        sha256=parameters.sha256 or fields.get("sha256"),
        model=parameters.model or fields.get("model") or None,
        version=parameters.version or fields.get("version") or None,
        dataset=parameters.dataset or parse_dataset(fields.get("dataset")),
    )


def together(query: Parameters, json: Parameters, *, by_query: Collection[str], by_json: Collection[str]) -> Parameters:
    """What the query and the JSON of a request say; `by_query` and `by_json` are the names that each of them states.

    Raises RequestRefused, by name, where both state a thing, and not the same.
    """
    known = sorted(_FIELDS.intersection(by_query))
    for name in known:
        if name in by_json and getattr(query, name) != getattr(json, name):
            raise RequestRefused(f"{name} is one thing in the query and another in the JSON; give it once", field=name)
    return replace(json, **{name: getattr(query, name) for name in known})


def parse_flag(text: str, *, field: str) -> bool:
    """True or False as forms, queries and JSON write them, in any case of letters. Raises RequestRefused."""
    flag = FLAGS.get(text.lower())
    if flag is None:
        raise RequestRefused(f"{field} is {text[:40]!r}; it is one of {', '.join(FLAGS)}", field=field)
    return flag


def parse_priority(text: str) -> Priority:
    """The priority of that name. Raises RequestRefused that lists them."""
    try:
        return Priority[text.upper()]
    except KeyError:
        names = ", ".join(priority.name.lower() for priority in Priority)
        raise RequestRefused(f"priority is {shown(text)}; it is one of {names}", field="priority") from None


def parse_spacing(text: str | None) -> Spacing | None:
    """`z,y,x` in mm, such as 0.01,0.005,0.005. Raises RequestRefused that says what is wrong."""
    if text is None:
        return None
    try:
        z, y, x = (real_number(part, name="spacing", refused=ValueError) for part in text.split(","))
        return Spacing(z, y, x)
    except ValueError as error:
        reason = str(error) if str(error).startswith("spacing") else "three numbers are needed"
        raise RequestRefused(
            f"spacing is {shown(text)}; give z,y,x in mm, such as 0.01,0.005,0.005: {reason}", field="spacing"
        ) from None


def parse_dataset(text: str | None) -> str | None:
    """The name of a data set, None for none. Raises RequestRefused for one that cannot be a name."""
    if not text:
        return None
    return checked_name(text, name="dataset", refused=partial(RequestRefused, field="dataset"))

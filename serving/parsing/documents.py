"""Documents: JSON, read within limits that are checked before anything is made of it.

A byte of JSON can become eighty of memory: an empty list in a list. So what a document could become is counted first,
by its commas, colons and brackets, at the speed of memory. It is read in one go by a parser that is several times
faster than the standard library's, bounded in depth, and refuses what is no JSON though Python takes it: NaN, Infinity,
lone surrogates, a byte order mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from serving.parsing.malformed import Refusal, TooLarge


@dataclass(frozen=True)
class DocumentLimits:
    """How large a document of a kind may be."""

    most_bytes: int
    most_values: int
    """Numbers, strings and the like, one more than the commas outside and inside of strings."""
    most_containers: int
    """Lists and objects, brackets inside of strings counted as well."""
    most_keys: int
    """Of all objects, colons inside of strings counted as well. One costs several times what a number does."""


SHORT = DocumentLimits(most_bytes=100_000, most_values=10_000, most_containers=1000, most_keys=10_000)
"""What names something, or says a few words about it."""


def parse_json(document: bytes | bytearray, *, name: str, limits: DocumentLimits, refused: Refusal) -> Any:
    """What a document in UTF-8 says. Raises TooLarge, and what `refused` makes for what is no JSON."""
    if len(document) > limits.most_bytes:
        raise TooLarge(f"{name} has {len(document)} bytes of JSON; {limits.most_bytes} are taken")
    if (values := document.count(b",") + 1) > limits.most_values:
        raise TooLarge(f"{name} has {values} values of JSON or more; {limits.most_values} are taken")
    if (containers := document.count(b"[") + document.count(b"{")) > limits.most_containers:
        raise TooLarge(f"{name} has {containers} lists and objects of JSON; {limits.most_containers} are taken")
    if (keys := document.count(b":")) > limits.most_keys:
        raise TooLarge(f"{name} has {keys} keys of JSON; {limits.most_keys} are taken")
    try:
        return from_json(document, allow_inf_nan=False)
    except ValueError as error:
        raise refused(f"{name} is no JSON: {error}") from None


def parse_object(document: bytes, *, name: str, limits: DocumentLimits, refused: Refusal) -> dict[str, Any]:
    """The same where only an object will do; nothing at all is an empty one. Raises as `parse_json`."""
    content = parse_json(document, name=name, limits=limits, refused=refused) if document.strip() else {}
    if not isinstance(content, dict):
        raise refused(f"{name} is no JSON object")
    return content

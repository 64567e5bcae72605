"""Texts: names and encoded bytes, as databases, files and answers can hold them."""

from __future__ import annotations

import base64
import binascii

from serving.parsing.malformed import Refusal, shown

LONGEST_NAME = 1000
"""Characters."""


def is_name(text: str, *, longest: int = LONGEST_NAME) -> bool:
    """Whether a text can be a name: neither empty nor long, of characters that can be written and looked up anywhere.

    PostgreSQL holds no NUL, UTF-8 no lone surrogate, and a line of a log no control character.
    """
    return 0 < len(text) <= longest and all(" " <= one != "\x7f" and not "\ud800" <= one <= "\udfff" for one in text)


def checked_name(text: str, *, name: str, refused: Refusal, longest: int = LONGEST_NAME) -> str:
    """The text, if it `is_name`. Raises what `refused` makes."""
    if not is_name(text, longest=longest):
        raise refused(f"{name} is {shown(text)}; it must be 1 to {longest} characters that can be printed")
    return text


def from_base64(text: str, *, name: str, refused: Refusal) -> bytes:
    """The bytes of a text in base64, padded. Raises what `refused` makes."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise refused(f"{name} is {shown(text)}; it must be base64") from None


def sendable(text: str, *, longest: int = 4000) -> str:
    """A text as UTF-8 can say it, and no longer than an answer needs it."""
    return text[:longest].encode("utf-8", "backslashreplace").decode()

"""Names of files as people know them: in Unicode, composed (NFC), whichever machine or archiver wrote them."""

from __future__ import annotations

import unicodedata
from zipfile import ZipInfo

_UTF8_FLAG = 0x800


def readable(name: str) -> str:
    """The name of a file on this machine in NFC; bytes that are not UTF-8 are taken as Latin-1."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        name = name.encode("utf-8", "surrogateescape").decode("latin-1")
    return unicodedata.normalize("NFC", name)


def same_name(one: str, other: str) -> bool:
    """Whether two names are the same to people: composed or decomposed, in upper or lower case."""
    return unicodedata.normalize("NFC", one).casefold() == unicodedata.normalize("NFC", other).casefold()


def entry_name(entry: ZipInfo) -> str:
    """The name of a zip's entry in NFC. Many archivers write UTF-8 without the flag that says so; else it is cp437."""
    name = entry.filename
    if not entry.flag_bits & _UTF8_FLAG and not name.isascii():
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = entry.filename
    return unicodedata.normalize("NFC", name)

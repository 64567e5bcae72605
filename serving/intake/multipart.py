"""Multipart forms, streamed: fields are kept, the file goes on as it comes, however large it is.

Names and fields are UTF-8, as browsers, curl and HTTP libraries write them; what is not is refused, rather than kept
under a name that nobody gave it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import MultipartParser, parse_options_header

from serving.parsing.malformed import shown

if TYPE_CHECKING:  # it is there for type checkers alone
    from python_multipart.multipart import MultipartCallbacks

_MOST_FIELD_BYTES = 10_000
_MOST_PARTS = 100
_AT_ONCE_BYTES = 16 << 10
"""That are read before others get their turn, where that took long."""
_LABORIOUS_SECONDS = 0.0005
"""Twenty times what so many bytes usually take; the parser goes byte by byte where data nearly holds the boundary."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)')
_EXTENDED = re.compile(r";\s*filename\*\s*=\s*([\w-]+)'[^']*'([^;\s]*)", re.IGNORECASE)
"""The other way to write a name, RFC 5987: filename*=UTF-8''Gr%C3%B6%C3%9Fe.nii."""


class FormRefused(ValueError):
    """A form that cannot become a scan."""


@dataclass
class Form:
    """A form that is being read. `fields` fill up as the stream of the file is consumed, and are whole at its end."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    _headers: dict[str, str] = field(default_factory=dict)
    _header_name: bytes = b""
    _header_value: bytes = b""
    _name: str = ""
    _in_file: bool = False
    _ended: bool = False
    _parts: int = 0
    _pieces: list[bytes] = field(default_factory=list)
    _field: bytearray = field(default_factory=bytearray)

    async def file(self, body: AsyncIterator[bytes], *, content_type: str) -> AsyncIterator[bytes]:
        """The bytes of the form's one file part. Raises FormRefused if there is none, or more than one."""
        _, options = parse_options_header(content_type)
        if b"boundary" not in options:
            raise FormRefused("the Content-Type of the form names no boundary")
        try:
            parser = MultipartParser(options[b"boundary"], self._callbacks())
        except Exception as error:  # python-multipart raises several kinds
            raise FormRefused(f"the form's boundary cannot be used: {error}") from error
        async for chunk in body:
            for start in range(0, len(chunk), _AT_ONCE_BYTES):
                began = time.perf_counter()
                self._read(parser, chunk[start : start + _AT_ONCE_BYTES])
                if time.perf_counter() - began > _LABORIOUS_SECONDS:
                    await asyncio.sleep(0)
                if piece := self._taken():
                    yield piece
        if not self._ended:
            raise FormRefused("the form ends before its closing boundary")
        if self.filename is None:
            raise FormRefused("the form holds no file; send the scan as a part with a filename")

    def _read(self, parser: MultipartParser, data: bytes) -> None:
        try:
            parser.write(data)
        except FormRefused:
            raise
        except Exception as error:  # python-multipart raises several kinds
            raise FormRefused(f"the form cannot be read: {error}") from error

    def _taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_field,
            "on_header_value": self._header_text,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._ends,
        }

    def _part_begins(self) -> None:
        self._headers.clear()
        self._field.clear()
        self._in_file = False
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise FormRefused(f"the form has more than {_MOST_PARTS} parts; a scan's has one file and a few fields")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = self._header_value.decode("latin-1")
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        stated = self._headers.get("content-disposition", "")
        _, options = parse_options_header(stated)
        self._name = _text(options.get(b"name", b""), name=f"the name of the form's part {self._parts}")
        extended = _EXTENDED.search(_QUOTED.sub('""', stated))
        if b"filename" not in options and extended is None:
            return
        if self.filename is not None:
            raise FormRefused("the form holds several files; send a series as one zip of its files")
        self.filename = (
            _extended_name(extended) if extended else _text(options[b"filename"], name="the form's filename")
        )
        self._in_file = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(bytes(data[start:end]))
            return
        self._field += data[start:end]
        if len(self._field) > _MOST_FIELD_BYTES:
            raise FormRefused(f"the form's field {self._name!r} has more than {_MOST_FIELD_BYTES} bytes")

    def _part_ends(self) -> None:
        if not self._in_file:
            if self._name in self.fields:
                raise FormRefused(f"the form's field {self._name[:40]!r} comes twice; give it once")
            self.fields[self._name] = _text(bytes(self._field), name=f"the form's field {self._name[:40]!r}")

    def _ends(self) -> None:
        self._ended = True


def _extended_name(found: re.Match[str]) -> str:
    charset, written = found.groups()
    if charset.lower() not in ("utf-8", "iso-8859-1"):
        raise FormRefused(f"the form's filename* is in {charset[:40]!r}; write it in UTF-8")
    content = unquote_to_bytes(written)
    return content.decode("latin-1") if charset.lower() != "utf-8" else _text(content, name="the form's filename*")


def _text(content: bytes, *, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise FormRefused(f"{name} is {shown(content)}, which is not UTF-8; write names in UTF-8") from None

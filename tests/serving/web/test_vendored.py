"""What others wrote is what they published, byte for byte, and is here with its licence; nothing else is."""

from __future__ import annotations

import gzip
import hashlib
import re

import pytest

from serving.web.assets import OWN, PACKED, STATIC_DIR, address
from serving.web.vendored import VENDORED, Vendored

LICENCES = STATIC_DIR / "vendor" / "licences"


@pytest.mark.parametrize("one", VENDORED, ids=lambda one: one.file)
def test_its_bytes_are_those_of_the_table(one: Vendored) -> None:
    """By SHA-256; a library's version stands in its name, so that a new one is fetched by browsers."""
    content = (STATIC_DIR / one.file).read_bytes()
    if one.file.endswith(PACKED):
        content = gzip.decompress(content)
    assert hashlib.sha256(content).hexdigest() == one.sha256
    assert one.version in one.file or one.name == "neuroglancer"
    assert len((LICENCES / f"{one.name}.txt").read_text(encoding="utf-8")) > 500


def test_every_file_is_ours_or_in_the_table() -> None:
    """Nothing lies there that nobody answers for."""
    found = {file.relative_to(STATIC_DIR).as_posix() for file in STATIC_DIR.rglob("*") if file.is_file()}
    licences = {f"vendor/licences/{name}.txt" for name in {one.name for one in VENDORED}}
    assert found == {one.file for one in VENDORED} | licences | {*OWN, "icon.svg"}


def test_our_own_files_name_nobody_elsewhere() -> None:
    """No address of another server, and no script or style within a page, which its policy forbids."""
    ours = [STATIC_DIR / name for name in OWN] + sorted((STATIC_DIR.parent / "templates").iterdir())
    for file in ours:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://|\son[a-z]+=|\sstyle=|<style|<script(?! src)", text), file.name
    assert address("htmx").startswith("/static/vendor/htmx-") and address("page.css") == "/static/page.css"

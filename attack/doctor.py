"""Doctor: what `ricefish doctor --store` says of a store, and whether it names a damage."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness import forked


@dataclass(frozen=True)
class Examination:
    """What it printed, and how it ended."""

    said: str
    status: int
    """0: nothing is wrong; 1: something is; others: it did not get so far."""
    whole: Path
    """The same store before it was damaged."""

    def names(self, path: PurePosixPath) -> bool:
        """Whether it says that something is wrong, and where: the file, or the scan, model or upload that it is of."""
        return self.status == 1 and any(name in self.said for name in _names(path, self.whole))

    def verdict(self, path: PurePosixPath) -> str:
        """In a word or two."""
        if self.names(path):
            return "names it"
        return {0: "sees nothing", 1: "names something else"}.get(self.status, "does not work")


def examine(store: Path, whole: Path) -> Examination:
    """Has a store looked at that nobody serves. `whole` is the same before it was damaged."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        status, said = forked.ran(("doctor", "--store", "--json"), log=log, store=store)
        return Examination(said + log.read_text(encoding="utf-8", errors="replace"), status, whole)


def _names(path: PurePosixPath, whole: Path) -> list[str]:
    parts = path.parts
    if parts[0] == "scans":
        return [str(path), parts[1]]
    if parts[:2] == ("models", "references"):  # of the last note of a model nothing tells the file's name
        note, _ = json.JSONDecoder().raw_decode((whole / path).read_text(encoding="utf-8"))  # its checksum follows
        served = note["versions"][0]["identity"]["name"]
        return [str(path), path.name, f"the note of what was served as {served} is gone"]
    if parts[0] == "models":
        return [str(path), *(part for part in parts[1:] if len(PurePosixPath(part).stem) >= 32)]
    if "uploads" in parts:
        return [str(path), parts[parts.index("uploads") + 1]]
    return [str(path), path.name]

"""docs/extending.md as changes that can be made: its blocks, applied to a copy of the repository."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/extending.md"
COPIED = ("scans", "training", "serving", "ricefish", "params.yaml", "dvc.yaml", "pyproject.toml")

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(diff|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of the page: lines of a file to change, or a new file."""

    path: str
    old: str | None
    """None: the file is new."""
    new: str

    @classmethod
    def read(cls, kind: str, text: str) -> Block:
        """`--- PATH` and lines that begin with " ", "-" or "+"; or `# PATH` and the file."""
        head, _, body = text.partition("\n")
        if kind == "python":
            return cls(head.removeprefix("# "), None, body)
        lines = body.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        return cls(head.removeprefix("--- "), old, "".join(line[1:] for line in lines if line[0] in " +"))

    def apply(self, root: Path) -> None:
        """Makes the change below a folder. Raises ValueError where the lines are not there, or there twice."""
        file = root / self.path
        if self.old is None:
            if file.exists():
                raise ValueError(f"{self.path} is there already")
            file.write_text(self.new, encoding="utf-8")
            return
        text = file.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} has {text.count(self.old)} times:\n{self.old}")
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")


def sections() -> dict[str, list[Block]]:
    """The blocks of each section of the page, by its title."""
    _, *parts = _SECTION.split(PAGE.read_text(encoding="utf-8"))
    return {
        title: [Block.read(kind, text) for kind, text in _BLOCK.findall(body)]
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }


def copy_with(section: str, root: Path) -> Path:
    """A copy of the code below a folder in which a section's changes are made."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    for block in sections()[section]:
        block.apply(root)
    return root

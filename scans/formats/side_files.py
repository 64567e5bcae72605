"""Side files: what scanners, viewers and desktops leave beside scans and slices, one list for servers and training.

Leftovers of desktops are nobody's, and not spoken of. Notes, settings and previews are passed over and said.
"""

from __future__ import annotations

from pathlib import PurePosixPath

_LEFTOVERS = frozenset({
    "thumbs.db", "desktop.ini", "ehthumbs.db", "dicomdir", "__macosx", "@eadir", "$recycle.bin", "lost+found",
    "icon\r", "system volume information",
})  # fmt: skip
_SUFFIXES = frozenset({
    ".txt", ".log", ".md", ".csv", ".tsv", ".xml", ".json", ".yaml", ".yml", ".ini", ".cfg", ".conf", ".info", ".toml",
    ".par", ".pdf", ".html", ".htm", ".rtf", ".doc", ".docx", ".xls", ".xlsx", ".odt", ".ods", ".ppt", ".pptx",
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".svg", ".ico", ".db", ".lut", ".lnk", ".url", ".bak", ".tmp", ".md5",
    ".sha1", ".sha256", ".py", ".ijm", ".bat", ".sh", ".avi", ".mp4", ".mov", ".wmv", ".ctf", ".crv",
    ".ctvol", ".ctan", ".roi", ".xtekct", ".vgi", ".vgl", ".vgp", ".pca", ".pcr", ".pcp", ".ctprofile", ".ctinfo",
    ".xtekhelixxml", ".stl", ".ply", ".xmp",
})  # fmt: skip
_NAMES = frozenset({"readme", "license", "licence", "changelog", "version", "lockfile", "md5sums", "sha256sums"})


def is_leftover(name: str) -> bool:
    """True for a hidden file, or one that a desktop leaves; `name` is one part of a path."""
    return name.startswith((".", "~$")) or name.lower() in _LEFTOVERS


def is_side_file(name: str) -> bool:
    """True for a file that by its name holds no voxels: notes, settings, previews, regions of interest."""
    path = PurePosixPath(name)
    return path.suffix.lower() in _SUFFIXES or path.name.lower() in _NAMES


def passed_over(names: list[str], *, most: int = 5) -> tuple[str, ...]:
    """The note that says so of these files; none for no file."""
    if not names:
        return ()
    listed = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return (f"passed over, as no slice: {listed}",)

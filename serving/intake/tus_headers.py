"""The headers of the tus protocol that say something of an upload's bytes."""

from __future__ import annotations

from serving.parsing.texts import from_base64

CHECKSUMS = ("sha256", "sha1", "md5")
"""Algorithms of the checksum extension, the better ones first."""


TUS_VERSION = "1.0.0"


class OtherVersion(ValueError):
    """A request of another version of the protocol than TUS_VERSION, or of none."""


class NoPart(ValueError):
    """A request to go on with an upload that does not say of its body that it is a part."""


class UploadRefused(ValueError):
    """A header of the protocol that cannot be understood, or that says what cannot be done."""


def parse_metadata(header: str) -> dict[str, str]:
    """Keys and values of an Upload-Metadata header. Raises UploadRefused where it is not written as it must be."""
    metadata = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        name = f"Upload-Metadata: the value of {key!r}"
        try:
            metadata[key] = from_base64(value.strip(), name=name, refused=UploadRefused).decode()
        except UnicodeDecodeError:
            raise UploadRefused(f"{name} is not UTF-8 text in base64") from None
    return metadata


def stated_checksum(header: str | None) -> tuple[str, bytes] | None:
    """Algorithm and digest of an Upload-Checksum header; None without one. Raises UploadRefused."""
    if header is None:
        return None
    algorithm, _, value = header.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        raise UploadRefused(f"Upload-Checksum by {algorithm!r}; this server knows {', '.join(CHECKSUMS)}")
    return algorithm, from_base64(value, name="Upload-Checksum: the checksum", refused=UploadRefused)

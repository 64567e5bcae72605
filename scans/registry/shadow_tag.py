"""Shadow tag: what servers found where a registered version ran beside the champion, as a line beside the verdict."""

from __future__ import annotations

from collections.abc import Mapping

from scans.model.shadow_agreement import TAG, ShadowAgreement


def found_beside(tags: Mapping[str, str], *, name: str, champion: str | None) -> str | None:
    """What servers found where a version of the model `name` ran beside the champion, in one line, by its tags.

    None where it did not; `champion` is the champion's version now. It decides nothing.
    """
    if TAG not in tags:
        return None
    try:
        return ShadowAgreement.from_tag(tags[TAG]).sentence(name=name, champion=champion)
    except ValueError as error:
        return f"shadow: {error}"

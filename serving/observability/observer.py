"""Observer: what the rooms of a process tell of their work while they do it."""

from __future__ import annotations

from scans.geometry import Triple
from scans.model.drift import Departure
from scans.model.judgement import Judgement


class Observer:
    """Told from any thread, and quick to answer. Nothing comes of it here; whoever listens overrides what it wants."""

    def batch_computed(
        self, urgency: str, *, requests: int, slices: int, waited_seconds: float, seconds: float, failed: bool
    ) -> None:
        """A batch left the batching queue; `waited_seconds` of the request that waited longest, `seconds` computing."""

    def time_spent(self, activity: str, seconds: float) -> None:
        """So long was spent on an activity of segmenting."""

    def slab_finished(self, shape: Triple) -> None:
        """A slab of so many voxels along z, y, x is in the store."""

    def slab_judged(self, judgement: Judgement, *, model: str) -> None:
        """The segmentation of a slab was judged."""

    def departed(self, departure: Departure, *, model: str) -> None:
        """A scan is unlike what the model has seen."""

    def scan_ended(
        self, outcome: str, *, final: bool, priority: str | None = None, seconds: float | None = None
    ) -> None:
        """Work on a scan ended; `final` where the scan did. `seconds` since its acceptance, where it succeeded."""

    def model_followed(self, model: str) -> None:
        """A model is followed from now on."""

    def registry_looked(self, reference: str, *, reached: bool) -> None:
        """The registry was asked what a reference means, and answered or did not."""

    def model_swapped(self, model: str) -> None:
        """Another version of the model is served from now on."""

    def model_refused(self, model: str, *, reason: str) -> None:
        """A version was not put in place."""

    def shadow_agreed(self, organ: str, dice: float, *, model: str) -> None:
        """Dice of an organ, 0..1, between what the shadow `model` says of a scan and what was answered."""

    def shadow_ended(self, outcome: str) -> None:
        """A run of the shadow on a scan ended."""

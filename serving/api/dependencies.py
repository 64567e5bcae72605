"""Dependencies: the resources of a server that a route asks for as a parameter, as the caller sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from serving.api.known_stores import KnownStores
from serving.api.problem_table import NotReady
from serving.api.slow_answers import SlowAnswers
from serving.auth.authentication import Auth
from serving.auth.identity import ANYONE, Identity, identity_of
from serving.inference.batching import Batcher
from serving.intake.admission import Admission
from serving.intake.correction_intake import CorrectionIntake
from serving.intake.reception import Intake
from serving.intake.tus import Uploads
from serving.models.champions import Champions
from serving.models.follower import Follower
from serving.models.served import LoadedModel, Models
from serving.models.webhooks import Webhook
from serving.observability.observer import Observer
from serving.observability.readiness import Readiness
from serving.protocol.body_room import BodyRoom
from serving.protocol.catalogue import ModelCatalogue
from serving.protocol.shared_memory import Regions
from serving.queue.janitor import Janitor
from serving.queue.jobs import Jobs
from serving.queue.worker import Worker
from serving.review.reviewing import Reviews
from serving.segmentation.corrections import Corrections
from serving.segmentation.results import Results
from serving.shadow.service import Shadow


@dataclass(frozen=True)
class Resources:
    """What routes are handed; on `app.state.resources` while the app runs."""

    models: Models
    batcher: Batcher
    jobs: Jobs
    janitor: Janitor
    intake: Intake
    uploads: Uploads
    results: Results
    corrections: Corrections
    correction_intake: CorrectionIntake
    readiness: Readiness
    observer: Observer
    """Is told of what is cancelled."""
    worker: Worker | None
    auth: Auth
    catalogue: ModelCatalogue
    """What /v2 offers."""
    regions: Regions
    """Shared memory in which tensors may lie."""
    bodies: BodyRoom
    """Room for the bodies of infer."""
    admission: Admission
    follower: Follower
    champions: Champions
    webhook: Webhook
    shadow: Shadow
    slow_answers: SlowAnswers
    """The threads that results are made in."""
    known_stores: KnownStores
    """What is known of the stores that are looked at just now."""
    reviews: Reviews
    caller: Identity = ANYONE
    """On whose behalf they are used."""

    def seen_by(self, identity: Identity) -> Resources:
        """The same, where scans and uploads of other owners do not exist and new ones are this identity's."""
        jobs, uploads = self.jobs.seen_by(identity), self.uploads.seen_by(identity)
        intake = self.intake.using(jobs, uploads, owner=identity.owner)
        reviews, corrected = self.reviews.seen_by(identity), self.correction_intake.using(owner=identity.owner)
        seen = replace(self, jobs=jobs, uploads=uploads, intake=intake, reviews=reviews, caller=identity)
        return replace(seen, correction_intake=corrected)

    @property
    def shown_jobs(self) -> Jobs:
        """Scans of which single slices may be looked at: those of `jobs`, and those that the caller may review."""
        return self.jobs.seen_by(self.caller.reviewing())


def resources_of(request: Request) -> Resources:
    """All of them, whoever asks: for what belongs to nobody."""
    resources: Resources | None = request.app.state.resources
    if resources is None:
        raise NotReady("the server is starting or stopping")
    return resources


def segmentation_model(resources: Resources) -> LoadedModel:
    """The one for new scans. Raises NotReady where plain models alone are served."""
    if not resources.models.served():
        raise NotReady("no segmentation model is served: set RICEFISH_MODEL")
    return resources.models.current


async def _seen(request: Request) -> Resources:
    return resources_of(request).seen_by(identity_of(request.scope))


CallerResources = Annotated[Resources, Depends(_seen)]


async def database_answers(request: Request) -> None:
    """Refuses at once what needs the database while it does not answer, so that no thread waits for it in vain.

    Raises Unanswered or SQLAlchemyError.
    """
    await resources_of(request).readiness.look("database")

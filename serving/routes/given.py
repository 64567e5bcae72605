"""Given: what a route asks for as a parameter: the resources, as the caller sees them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serving.auth.identity import identity_of
from serving.errors import NotReady
from serving.models.served import LoadedModel
from serving.resources import Resources


def resources_of(request: Request) -> Resources:
    """All of them, whoever asks: for what belongs to nobody."""
    resources: Resources | None = request.app.state.resources
    if resources is None:
        raise NotReady("the server is starting or stopping")
    return resources


def segmentation_model(given: Resources) -> LoadedModel:
    """The one for new scans. Raises NotReady where plain models alone are served."""
    if not given.models.served():
        raise NotReady("no segmentation model is served: set RICEFISH_MODEL")
    return given.models.current


def _seen(request: Request) -> Resources:
    return resources_of(request).seen_by(identity_of(request.scope))


Given = Annotated[Resources, Depends(_seen)]


async def database_answers(request: Request) -> None:
    """Refuses at once what needs the database while it does not answer, so that no thread waits for it in vain.

    Raises Unanswered or SQLAlchemyError.
    """
    await resources_of(request).readiness.look("database")

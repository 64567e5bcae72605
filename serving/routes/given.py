"""Given: what a route asks for as a parameter: the resources, as the caller sees them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serving.errors import NotReady
from serving.identity import identity_of
from serving.resources import Resources


def _resources(request: Request) -> Resources:
    resources: Resources | None = request.app.state.resources
    if resources is None:
        raise NotReady("the server is starting or stopping")
    return resources.seen_by(identity_of(request.scope))


Given = Annotated[Resources, Depends(_resources)]


async def database_answers(given: Given) -> None:
    """Refuses at once what needs the database while it does not answer, so that no thread waits for it in vain.

    Raises Unanswered or SQLAlchemyError.
    """
    await given.readiness.look("database")

"""Given: the resources that a route asks for as a parameter."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serving.errors import NotReady
from serving.resources import Resources


def _resources(request: Request) -> Resources:
    resources: Resources | None = request.app.state.resources
    if resources is None:
        raise NotReady("the server is starting or stopping")
    return resources


Given = Annotated[Resources, Depends(_resources)]

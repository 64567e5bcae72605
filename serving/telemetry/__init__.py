"""Telemetry: what a process counts and measures, in the text format of Prometheus. One registry per application."""

from serving.telemetry.instruments import CONTENT_TYPE, PortTaken, Telemetry
from serving.telemetry.requests import RequestWatch
from serving.telemetry.state import Watched

__all__ = ["CONTENT_TYPE", "PortTaken", "RequestWatch", "Telemetry", "Watched"]

"""`python -m serving.process.healthcheck [live | ready | metrics]`: status 0 if the process of this container answers.

What a container engine runs every few seconds beside a server or a worker, so it imports nothing that takes time. Where
to ask comes from the same RICEFISH_ variables that the process itself reads. With TLS the certificate is not verified:
it names the server as others reach it, and this asks over loopback.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

TIMEOUT_SECONDS = 4.0
_PATHS = {"live": "/health/live", "ready": "/health/ready", "metrics": "/metrics"}
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to ask, not to listen


def address(question: str, environment: Mapping[str, str]) -> str:
    """Whom to ask: `live` and `ready` are answered by a server, `metrics` by a worker on its RICEFISH_METRICS_PORT.

    Raises ValueError for another question, and for a worker that has no such port.
    """
    if question not in _PATHS:
        raise ValueError(f"{question!r} cannot be asked; give one of {', '.join(_PATHS)}")
    host = environment.get("RICEFISH_HOST") or "127.0.0.1"
    host = _EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    scheme, port = "http", environment.get("RICEFISH_PORT") or "8000"
    if question == "metrics":
        port = environment.get("RICEFISH_METRICS_PORT", "")
        if not port:
            raise ValueError(
                "RICEFISH_METRICS_PORT is not set, so that the worker cannot be asked; set it, to 9100 say"
            )
    elif environment.get("RICEFISH_TLS_CERTIFICATE"):
        scheme = "https"
    return f"{scheme}://{host}:{port}{_PATHS[question]}"


def check(question: str, environment: Mapping[str, str]) -> str | None:
    """None if the answer is 200, else what is wrong, with the reasons that the server gives."""
    try:
        asked = address(question, environment)
    except ValueError as error:
        return str(error)
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unverified)
    )
    try:
        with opener.open(asked, timeout=TIMEOUT_SECONDS):
            return None
    except urllib.error.HTTPError as refused:
        return f"{asked} answers {refused.code}: {refused.read(2000).decode(errors='replace')}"
    except OSError as error:
        return f"{asked} does not answer: {error}"


if __name__ == "__main__":
    wrong = check(sys.argv[1] if len(sys.argv) > 1 else "ready", os.environ)
    if wrong is not None:
        sys.exit(wrong)

"""Listening: whether a server could take its port, and whether its certificate is one that clients accept."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from typing import Any

import httpx

from serving.observability.findings import Level, Observed
from serving.settings import Settings

_DAY_SECONDS = 86400.0
_FEW_DAYS = 14
_HTTP_SECONDS = 5.0
_EXPIRED = 10
"""OpenSSL's number."""


def port(settings: Settings) -> Observed:
    """Takes the port and gives it back; one that is taken is asked whether a server of Ricefish has it."""
    host, number = settings.host, settings.port
    found = f"{host}, port {number or 'that is free'}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
    except OSError as error:
        return _taken(settings, found) if error.errno == errno.EADDRINUSE else _refused(error, found)
    return Observed(f"{found}: it can be listened on")


def certificate(settings: Settings) -> Observed:
    """Has a client of this process greet the server, and looks at what it is shown."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return Observed("none: the server speaks HTTP")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(settings.tls_certificate, settings.tls_key, password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one
        return Observed(
            f"{settings.tls_certificate} and {settings.tls_key}: {error.strerror or error}",
            Level.FAIL,
            "RICEFISH_TLS_CERTIFICATE and RICEFISH_TLS_KEY name PEM files of one pair; the key has no password.",
        )
    try:
        shown = _greeted(server, settings)
    except ssl.SSLCertVerificationError as error:
        expired = error.verify_code == _EXPIRED
        advice = f"Clients refuse it: have it {'renewed' if expired else 'made anew'}."
        return Observed(f"{settings.tls_certificate}: {error.verify_message}", Level.FAIL, advice)
    names = ", ".join(name for _, name in shown.get("subjectAltName", ())) or "no name"
    days = (ssl.cert_time_to_seconds(shown["notAfter"]) - time.time()) / _DAY_SECONDS
    found = f"{settings.tls_certificate}: of {names}, valid for {days:.0f} days"
    if names == "no name":
        return Observed(found, Level.WARN, "Clients refuse it for want of subjectAltName: have it made anew.")
    return Observed(found, Level.WARN, "Have it renewed.") if days < _FEW_DAYS else Observed(found)


def _taken(settings: Settings, found: str) -> Observed:
    scheme = "https" if settings.tls_certificate else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - whom to ask
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}/health/live"
    try:
        answer = httpx.get(address, timeout=_HTTP_SECONDS, verify=False, trust_env=False)  # noqa: S501 - it is ours
        ours = answer.status_code == httpx.codes.OK and "status" in answer.json()
    except (httpx.HTTPError, ValueError):
        ours = False
    if ours:
        return Observed(f"{found}: a server that runs has it")
    return Observed(
        f"{found}: another program has it",
        Level.FAIL,
        "Stop that (ss -ltnp shows it), or set RICEFISH_PORT to another.",
    )


def _refused(error: OSError, found: str) -> Observed:
    advice = "RICEFISH_HOST is an address or a name of this machine: 127.0.0.1, or 0.0.0.0 for all of them."
    if error.errno == errno.EACCES:
        advice = "Ports below 1024 are root's: set RICEFISH_PORT to a greater one, or put a proxy before it."
    return Observed(f"{found}: {error.strerror or error}", Level.FAIL, advice)


def _greeted(server: ssl.SSLContext, settings: Settings) -> dict[str, Any]:
    """What a client sees of the certificate that trusts it. Raises SSLCertVerificationError, by its dates for one."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(settings.tls_certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server),
    ]
    while ends:
        for end in [*ends]:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            if end.server_side:
                ends.remove(end)
            else:
                return dict(end.getpeercert() or {})
    return {}

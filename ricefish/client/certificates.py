"""Certificates: which a client trusts, and what to do where a server's is not among them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import httpx

CA_VARIABLE = "RICEFISH_CA"
_NOT_YET, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
"""OpenSSL's numbers of what is wrong with a certificate."""


def trusted(ca: Path | None) -> ssl.SSLContext:
    """Trusts whom this machine trusts, and who is named in `ca`, a PEM file; None: in that of RICEFISH_CA.

    Raises ValueError for a file that cannot be read or holds no certificate.
    """
    context = httpx.create_ssl_context()
    named = ca or (Path(os.environ[CA_VARIABLE]) if os.environ.get(CA_VARIABLE) else None)
    if named is not None:
        try:
            context.load_verify_locations(named)
        except OSError as error:  # ssl.SSLError is one
            found = "is not there" if isinstance(error, FileNotFoundError) else f"holds no certificate ({error})"
            raise ValueError(
                f"{named} {found}; --ca and {CA_VARIABLE} name a PEM file with the certificate of who signed that of "
                f"the server"
            ) from error
    return context


def unreachable_hint(error: BaseException, url: str) -> str:
    """What to do about a server that could not be asked."""
    refused = _refusal(error)
    if isinstance(refused, ssl.SSLCertVerificationError):
        return _certificate_hint(refused)
    if refused is not None:
        return "does it speak HTTPS? If not, its address begins with http://"
    if isinstance(error, httpx.RemoteProtocolError) and url.startswith("http://"):
        return "is it a server of Ricefish, and does it speak HTTPS? Then its address begins with https://"
    if isinstance(error, httpx.UnsupportedProtocol):
        return "its address begins with http:// or https://"
    return "is the server running? (`ricefish serve`)"


def _certificate_hint(refused: ssl.SSLCertVerificationError) -> str:
    if refused.verify_code in {_NOT_YET, _EXPIRED}:
        return "renew the server's certificate, or set this machine's clock"
    if refused.verify_code in {_OTHER_NAME, _OTHER_ADDRESS}:
        return "ask the server by a name that its certificate holds"
    return f"give the certificate of who signed the server's with --ca FILE, or {CA_VARIABLE}"


def _refusal(error: BaseException | None) -> ssl.SSLError | None:
    """What TLS says, where that is behind an error."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error

"""Origin: which requests a server without keys answers, where a page may have had a browser make them.

A key is shown on purpose; without one, nothing else tells what a user asks for from what a page that he looks at asks
for in his name, be it under the server's own address (a form that posts there) or under the page's, whose name was made
to mean this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_OWN = ("none", "same-origin")
"""Sec-Fetch-Site of what the user typed, and of what the server's own page asks for."""


class ForeignOrigin(PermissionError):
    """A request that a page of somebody else's may have caused."""


@dataclass(frozen=True)
class Origins:
    """Of one server. Programs that are no browsers send a Host alone."""

    host: str
    """What it listens on."""
    named: tuple[str, ...] = ()
    """Further names that it is asked by, without ports."""

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Raises ForeignOrigin for another's name, and for another's page."""
        host = headers.get("host")
        if host is not None and not self._ours(_name(host)):
            raise ForeignOrigin(
                f"without API keys this server does not answer as {host!r}: ask for localhost, or name it in "
                "RICEFISH_HOSTS"
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is None or (origin == "null" and site == "same-origin"):
            followed = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
            if site is not None and site not in _OWN and not followed:
                raise ForeignOrigin("without API keys this server does nothing for pages of others")
        elif not self._same(origin.partition("://")[2], host):
            raise ForeignOrigin(f"without API keys this server does nothing for pages of {origin!r}")

    def _ours(self, name: str) -> bool:
        if name in _LOOPBACK or name in self._named or name == _name(_bracketed(self.host)):
            return True
        return not is_loopback(self.host) and ("." not in name or _is_address(name))  # no page's author owns these

    def _same(self, origin: str, host: str | None) -> bool:
        return origin.lower() == (host or "").lower() or _name(origin) in self._named

    @property
    def _named(self) -> frozenset[str]:
        return frozenset(_name(name) for name in self.named)


def check_own_form(headers: Mapping[str, str]) -> None:
    """Raises ForeignOrigin where a form was sent that another's page holds, be there keys or none."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        own = site in _OWN
    else:
        own = origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()
    if not own:
        raise ForeignOrigin("this form is sent from the server's own page alone")


def came_by_network(client: tuple[str, int] | None) -> bool:
    """False for what no browser can have sent: over a socket that is a file, or within this process."""
    return client is not None and _is_address(client[0])


def is_loopback(host: str) -> bool:
    """True if only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """`NAME:PORT` or `[ADDRESS]:PORT` without the port."""
    name, _, port = host.rpartition(":")
    whole = host if "]" in port or not name else name
    return whole.strip().lower().removesuffix(".")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True

"""Webhooks: what MLflow says of its registry, believed only where it is signed with the secret that both know.

MLflow signs as https://www.standardwebhooks.com says: HMAC-SHA256 of `DELIVERY.TIMESTAMP.BODY`, in base64 after `v1,`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from serving.observability import logs
from serving.parsing.documents import SHORT, parse_json
from serving.parsing.quantities import optional_number

SIGNATURE, TIMESTAMP, DELIVERY = "X-MLflow-Signature", "X-MLflow-Timestamp", "X-MLflow-Delivery-Id"
_VERSION = "v1"
_FRESH_SECONDS = 300.0
"""An event that was signed longer ago, or as far ahead, is not believed."""
_ENTITY, _ACTIONS = "model_version_alias", frozenset({"created", "deleted"})


class EventRefused(ValueError):
    """An event that is not known to be the registry's; the message says what is wrong with it."""


class EventUnreadable(ValueError):
    """A signed event that is none; the message says what is wrong with it."""


class Webhook:
    """Takes the registry's events in. Safe to use from several threads."""

    def __init__(self, secret: str | None, *, look: Callable[[str, str], bool]) -> None:
        """`secret` is what the webhook was made with; None: no event is taken. `look(name, alias)` is called once for
        each alias that was moved, and says whether it is followed.
        """
        self._secret = None if secret is None else secret.encode()
        self._look = look
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        """Deliveries, and when each was signed: a second one changes nothing."""

    def take(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """True if the registry is asked because of this event. `headers` are found in any case of letters.

        Raises EventRefused if it is not signed with the secret within the last minutes, EventUnreadable if it is not
        what MLflow sends.
        """
        delivery, signed = self._checked(body, headers)
        name, alias = _moved(body)
        if name is None or alias is None or not self._is_new(delivery, signed):
            return False
        followed = self._look(name, alias)
        logs.event("registry_event", model=name, alias=alias, followed=followed)
        return followed

    def _checked(self, body: bytes, headers: Mapping[str, str]) -> tuple[str, float]:
        if self._secret is None:
            raise EventRefused("this server takes no events: RICEFISH_WEBHOOK_SECRET is not set")
        stated, delivery = headers.get(SIGNATURE.lower(), ""), headers.get(DELIVERY.lower(), "")
        moment = headers.get(TIMESTAMP.lower(), "")
        content = b".".join((delivery.encode("latin-1"), moment.encode("latin-1"), body))
        digest = hmac.new(self._secret, content, hashlib.sha256).digest()
        expected = f"{_VERSION},{base64.b64encode(digest).decode()}".encode()
        if not any(hmac.compare_digest(one.encode("latin-1"), expected) for one in stated.split()):
            raise EventRefused(f"the event is not signed with this server's secret ({SIGNATURE})")
        signed = optional_number(moment)
        if signed is None or abs(time.time() - signed) > _FRESH_SECONDS:
            raise EventRefused(f"the event was signed more than {_FRESH_SECONDS:.0f} s from now ({TIMESTAMP})")
        return delivery, float(signed)

    def _is_new(self, delivery: str, signed: float) -> bool:
        with self._lock:
            oldest = time.time() - 2 * _FRESH_SECONDS
            self._seen = {one: when for one, when in self._seen.items() if when > oldest}
            new = delivery not in self._seen
            self._seen[delivery] = signed
            return new


def _moved(body: bytes) -> tuple[str | None, str | None]:
    """The model and the alias that an event is about; None twice for events about other things."""
    try:
        event: dict[str, Any] = parse_json(body, name="the event", limits=SHORT, refused=EventUnreadable)
        if event["entity"] != _ENTITY or event["action"] not in _ACTIONS:
            return None, None
        return str(event["data"]["name"]), str(event["data"]["alias"])
    except (ValueError, KeyError, TypeError) as error:
        raise EventUnreadable(f"the event is not one of MLflow's: {type(error).__name__}: {error}") from None

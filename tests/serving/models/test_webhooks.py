"""The registry's events are believed where they are signed, fresh, and about an alias that is followed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path

import httpx
import pytest

from serving.models.webhooks import EventRefused, EventUnreadable, Webhook
from tests.serving.running import RunningServer

SECRET = "between the registry and this server"  # noqa: S105 - of these tests alone


def _body(name: str = "ricefish", alias: str = "champion", *, action: str = "created") -> bytes:
    data = {"name": name, "alias": alias, "version": "2"}
    event = {"entity": "model_version_alias", "action": action, "timestamp": "2026-01-01T00:00:00+00:00", "data": data}
    return json.dumps(event).encode()


def _headers(body: bytes, *, secret: str = SECRET, ago: float = 0.0, delivery: str | None = None) -> dict[str, str]:
    """As MLflow signs."""
    delivery, moment = delivery or str(uuid.uuid4()), str(int(time.time() - ago))
    digest = hmac.new(secret.encode(), f"{delivery}.{moment}.{body.decode()}".encode(), hashlib.sha256).digest()
    return {
        "x-mlflow-delivery-id": delivery,
        "x-mlflow-timestamp": moment,
        "x-mlflow-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class _Looks:
    """Follows ricefish@champion alone."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, name: str, alias: str) -> bool:
        self.asked.append((name, alias))
        return (name, alias) == ("ricefish", "champion")


@pytest.mark.parametrize("action", ["created", "deleted"])
def test_a_signed_event_has_the_registry_asked(action: str) -> None:
    """Whether the alias was set or removed."""
    looks = _Looks()
    body = _body(action=action)
    assert Webhook(SECRET, look=looks).take(body, _headers(body)) is True
    assert looks.asked == [("ricefish", "champion")]


def test_mlflow_signs_so() -> None:
    """The signature above is the one that MLflow's own code makes."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    body = _body()
    made = _headers(body, delivery="an id")
    theirs = _generate_hmac_signature(SECRET, "an id", made["x-mlflow-timestamp"], body.decode())
    assert made["x-mlflow-signature"] == theirs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x-mlflow-signature": ""}, "not signed"),
        ({"x-mlflow-signature": "v1,AAAA"}, "not signed"),
        ({"x-mlflow-signature": "v1a,é"}, "not signed"),
        ({"x-mlflow-delivery-id": "another"}, "not signed"),
        ({"x-mlflow-timestamp": str(int(time.time()) + 1000)}, "not signed"),
    ],
)
def test_what_is_not_signed_is_refused(changes: dict[str, str], message: str) -> None:
    """No, a wrong, and an unreadable signature, and one that is another delivery's or another moment's."""
    looks = _Looks()
    body = _body()
    with pytest.raises(EventRefused, match=message):
        Webhook(SECRET, look=looks).take(body, _headers(body) | changes)
    assert looks.asked == []


def test_another_secret_another_body_and_no_secret_are_refused() -> None:
    """A signature is good for one body, by one secret."""
    body = _body()
    with pytest.raises(EventRefused, match="not signed"):
        Webhook(SECRET, look=_Looks()).take(body, _headers(body, secret=SECRET + "?"))
    with pytest.raises(EventRefused, match="not signed"):
        Webhook(SECRET, look=_Looks()).take(_body(alias="candidate"), _headers(body))
    with pytest.raises(EventRefused, match="RICEFISH_WEBHOOK_SECRET is not set"):
        Webhook(None, look=_Looks()).take(body, _headers(body))


@pytest.mark.parametrize("ago", [400.0, -400.0])
def test_what_was_signed_long_ago_is_refused(ago: float) -> None:
    """Somebody who has kept an event cannot play it back later; nor is one from the future believed."""
    body = _body()
    with pytest.raises(EventRefused, match="more than 300 s from now"):
        Webhook(SECRET, look=_Looks()).take(body, _headers(body, ago=ago))


def test_a_delivery_counts_once() -> None:
    """Played back at once it changes nothing, and MLflow, which may not have heard the answer, hears no error."""
    looks, body = _Looks(), _body()
    webhook, headers = Webhook(SECRET, look=looks), _headers(body)
    assert [webhook.take(body, headers), webhook.take(body, headers)] == [True, False]
    assert len(looks.asked) == 1


def test_events_about_other_things_are_taken_and_left() -> None:
    """Another model, and another kind of event."""
    looks = _Looks()
    webhook = Webhook(SECRET, look=looks)
    other = _body(name="another")
    assert webhook.take(other, _headers(other)) is False
    tagged = json.dumps({"entity": "model_version_tag", "action": "set", "data": {"name": "ricefish"}}).encode()
    assert webhook.take(tagged, _headers(tagged)) is False
    assert looks.asked == [("another", "champion")]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"entity": "model_version_alias", "action": "created"}'])
def test_a_signed_event_that_is_none_is_said_to_be(body: bytes) -> None:
    """Only the registry can send one, so it says what is wrong with it."""
    with pytest.raises(EventUnreadable, match="not one of MLflow's"):
        Webhook(SECRET, look=_Looks()).take(body, _headers(body))


def test_over_http(server: RunningServer, tmp_path: Path, model_dir: Path) -> None:
    """202 for what is signed, 401 for what is not, with no API key asked for; a server without a secret takes none."""
    running = RunningServer(tmp_path, model_dir, webhook_secret=SECRET)
    body = _body()
    try:
        url = f"{running.start().url}/v1/models/webhook"
        signed = httpx.post(url, content=body, headers=_headers(body))
        assert (signed.status_code, signed.json()) == (202, {"followed": False})
        unsigned = httpx.post(url, content=body)
        assert (unsigned.status_code, unsigned.json()["type"]) == (401, "urn:ricefish:problem:event-refused")
        too_long = httpx.post(url, content=b" " * 100_001)
        assert (too_long.status_code, too_long.json()["type"]) == (413, "urn:ricefish:problem:too-large")
        assert SECRET not in running.log
    finally:
        running.end()
    without = httpx.post(f"{server.url}/v1/models/webhook", content=body, headers=_headers(body))
    assert without.status_code == 401
    assert "RICEFISH_WEBHOOK_SECRET is not set" in without.json()["detail"]

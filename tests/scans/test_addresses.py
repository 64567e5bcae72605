"""Addresses in messages: without passwords, and otherwise as they were."""

from __future__ import annotations

import pytest

from scans.addresses import without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ada:s3cret@mlflow:5000/api failed", "http://ada:***@mlflow:5000/api failed"),
        ("postgresql+psycopg://ada:a@b:c@db/q", "postgresql+psycopg://ada:***@db/q"),
        ("postgresql://ada@db/q?password=s3cret&sslmode=require", "postgresql://ada@db/q?password=***&sslmode=require"),
        ("see 'http://:s3cret@a' and http://b:1/x@y", "see 'http://:***@a' and http://b:1/x@y"),
        ("http://127.0.0.1:8000/v1/scans, mail to ada@b", "http://127.0.0.1:8000/v1/scans, mail to ada@b"),
        ("password=none of ours", "password=none of ours"),
    ],
)
def test_a_password_is_not_shown_and_all_else_is(text: str, shown: str) -> None:
    """Before the host, in whichever of several addresses, and as a parameter of libpq's."""
    assert without_passwords(text) == shown

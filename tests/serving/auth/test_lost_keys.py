"""Keys that are lost: a server that had some opens to nobody, be their table empty or gone, or all else as well."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.serving.auth.conftest import Serve
from tests.serving.auth.test_keys import add, refused_start
from tests.serving.conftest import Example


@pytest.mark.process
@pytest.mark.parametrize("lost", ["a mark", "owners", "the database"])
def test_a_store_whose_keys_are_lost_does_not_open_itself(
    serve: Serve, tmp_path: Path, model_dir: Path, example: Example, lost: str
) -> None:
    """Not on loopback either: it says how to make a key, and starts with one, or where it is meant to be open."""
    server = serve()
    shown = add(server, "--scope", "segment") if lost != "the database" else {}
    server.start()
    posted = {"content": example.path.read_bytes(), "headers": shown}
    server.http.post(f"{server.url}/v1/scans?filename=fish.nii.gz", **posted).raise_for_status()
    server.end()
    if lost == "the database":
        for file in server.store.glob("jobs.sqlite*"):
            file.unlink()
    else:
        engine = create_engine(f"sqlite:///{server.store / 'jobs.sqlite'}")
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE ricefish_api_keys"))
            connection.execute(text("DELETE FROM ricefish_marks" if lost == "owners" else "DELETE FROM ricefish_scans"))
        engine.dispose()
    refused = refused_start(model_dir, server.store)
    assert "ricefish keys add" in refused and "RICEFISH_ANONYMOUS=true" in refused
    opened = serve(anonymous="true").start()
    assert (opened.get("/v1/scans").status_code, opened.log.count("event=open_to_the_network")) == (200, 1)
    opened.end()
    add(server, "--scope", "admin")
    server.start()
    assert server.get("/v1/scans").status_code == 401


@pytest.mark.process
def test_uploads_whose_keys_are_lost_are_handed_to_nobody(serve: Serve, model_dir: Path) -> None:
    """Without a single scan, and with the database gone: whose they are stands beside them."""
    server = serve()
    shown = add(server, "--scope", "segment")
    server.start()
    begin = {**shown, "Tus-Resumable": "1.0.0", "Upload-Length": "10"}
    server.http.post(f"{server.url}/v1/uploads", headers=begin).raise_for_status()
    server.end()
    for file in server.store.glob("jobs.sqlite*"):
        file.unlink()
    refused = refused_start(model_dir, server.store)
    assert "uploads were begun with API keys" in refused and "ricefish keys add" in refused


@pytest.mark.process
def test_a_table_of_keys_that_is_emptied_opens_nothing(serve: Serve) -> None:
    """A server that has seen keys goes on asking for one."""
    server = serve()
    shown = add(server, "--scope", "admin")
    server.start()
    assert server.http.get(f"{server.url}/v1/scans", headers=shown).status_code == 200
    engine = create_engine(f"sqlite:///{server.store / 'jobs.sqlite'}")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ricefish_api_keys"))
    engine.dispose()
    server.until(lambda: server.http.get(f"{server.url}/v1/scans", headers=shown).status_code == 401)
    assert server.get("/v1/scans").status_code == 401

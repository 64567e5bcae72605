"""compose.yaml: of the right form, with nothing named that is not there, and settings that the programs know."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import validators

from serving.settings import read_settings
from tests.deploy.compose_file import REPOSITORY, interpolated, read_compose, settings_of

OURS = ("server", "worker", "worker-gpu", "mlflow", "buckets", "training")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_compose()


def test_it_is_a_compose_file(compose: dict[str, Any]) -> None:
    """The schema of the Compose specification accepts it, and refuses a slip."""
    schema = get_builtin_schema("vendor.compose-spec")
    validator = validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    slip = {**compose, "services": {"server": {"image": "x", "comand": ["serve"]}}}
    assert list(validator.iter_errors(slip))


def test_whatever_is_named_is_there(compose: dict[str, Any]) -> None:
    """Services, volumes, secrets, targets of the Dockerfile, lock files and mounted files exist."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (REPOSITORY / source).exists() if source.startswith(".") else source in compose["volumes"], volume
        if "build" in service:
            assert f" AS {service['build']['target']}\n" in dockerfile
            assert (REPOSITORY / "requirements" / service["build"].get("args", {}).get("LOCK", "uv.txt")).is_file()


@pytest.mark.parametrize("name", ["server", "worker", "worker-gpu"])
def test_the_programs_know_their_settings(compose: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each RICEFISH_ variable is a setting, with a value that it takes."""
    for variable in list(os.environ):
        if variable.startswith("RICEFISH_"):
            monkeypatch.delenv(variable)
    environment = settings_of(compose["services"][name])
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = read_settings(needs_model=name == "server")
    assert settings.store == "s3://scans"
    assert settings.device == ("cuda" if name == "worker-gpu" else "cpu")


def test_no_password_stands_in_it(compose: dict[str, Any]) -> None:
    """Every secret is a file that git does not know, and every password a variable that names one."""
    ignored = subprocess.run(
        ["git", "check-ignore", *(secret["file"] for secret in compose["secrets"].values())],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ignored.stdout.split()) == len(compose["secrets"])
    for service in compose["services"].values():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY", variable):
                assert str(value).startswith("/run/secrets/"), variable
                assert str(value).removeprefix("/run/secrets/") in service["secrets"], variable


def test_ports_are_open_on_loopback_alone(compose: dict[str, Any]) -> None:
    """Nothing listens on a network until somebody says so; there are no keys in the beginning."""
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert interpolated(port).startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(compose: dict[str, Any], name: str) -> None:
    """Read-only root, no capabilities, no new privileges."""
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_what_serves_is_watched(compose: dict[str, Any]) -> None:
    """Each service that stays up has a health check, and starts again by itself."""
    for name, service in compose["services"].items():
        if name not in ("buckets", "training"):
            assert "healthcheck" in service and service["restart"] == "unless-stopped", name


def test_prometheus_asks_services_that_there_are(compose: dict[str, Any]) -> None:
    """Its targets are services of compose.yaml, on the ports where they answer."""
    config = yaml.safe_load((REPOSITORY / "deploy/compose/prometheus.yaml").read_text(encoding="utf-8"))
    server, workers = config["scrape_configs"]
    assert server["static_configs"] == [{"targets": ["server:8000"]}]
    (found,) = workers["dns_sd_configs"]
    for name in found["names"]:
        environment = settings_of(compose["services"][name])
        assert environment["RICEFISH_METRICS_PORT"] == str(found["port"])


@pytest.mark.process
def test_the_secrets_are_made_once(tmp_path: Path, compose: dict[str, Any]) -> None:
    """make-secrets makes all that compose.yaml names, different ones, and leaves those that are there alone."""
    script = tmp_path / "deploy/compose/make-secrets"
    script.parent.mkdir(parents=True)
    script.write_bytes((REPOSITORY / "deploy/compose/make-secrets").read_bytes())
    subprocess.run(["bash", script], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (script.parent / "secrets").iterdir()}
    assert {Path(secret["file"]).name for secret in compose["secrets"].values()} == set(made)
    passwords = [text for name, text in made.items() if not name.startswith("s3_")]
    assert len(set(passwords)) == 4 and all(len(text) == 48 for text in passwords)
    assert stat.S_IMODE((script.parent / "secrets").stat().st_mode) == 0o700
    secret = re.search(r"aws_secret_access_key = (\w+)", made["s3_credentials"])
    assert secret and yaml.safe_load(made["s3_identities"])["identities"][0]["credentials"][0]["secretKey"] == secret[1]
    subprocess.run(["bash", script], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (script.parent / "secrets").iterdir()} == made


@pytest.mark.process
def test_passwords_reach_programs_and_no_command_line(tmp_path: Path) -> None:
    """with-secrets puts a file's content where the program looks, and takes the file's name away."""
    (tmp_path / "password").write_text("of fish")
    done = subprocess.run(
        ["sh", REPOSITORY / "deploy/compose/with-secrets", "env"],
        env={"PATH": os.environ["PATH"], "PGPASSWORD_FILE": str(tmp_path / "password"), "RICEFISH_PORT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "PGPASSWORD=of fish" in lines and "RICEFISH_PORT=1" in lines
    assert not [line for line in lines if line.startswith("PGPASSWORD_FILE")]


@pytest.mark.process
def test_a_secret_that_is_not_there_stops_the_program(tmp_path: Path) -> None:
    """Better no start than one with an empty password."""
    done = subprocess.run(
        ["sh", REPOSITORY / "deploy/compose/with-secrets", "echo", "started"],
        env={"PATH": os.environ["PATH"], "PGPASSWORD_FILE": str(tmp_path / "missing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "started" not in done.stdout

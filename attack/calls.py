"""Calls: what the OpenAPI document allows and forbids, by everybody. No answer is 5xx but 503 and 507.

Nobody is shown a scan of somebody else, and without a valid key nothing is answered that wants one. Every answer is one
that the document has: its status, its content type, its headers and its schema.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode, openapi, serializer
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from attack import specimens
from attack.prober import watching
from attack.tally import Arena, Tally
from harness import servers
from harness.forked import ForkedProcess
from serving.auth.keys import Keys
from serving.storage.database import Database

DOCUMENTED = (503, 507)
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""Those of schemathesis's checks that compare an answer with the document."""
_PART_OF_UPLOAD = "application/offset+octet-stream"
_MOST_ROUNDS = 10
_SECONDS = 20.0
_NAME = re.compile(r"\W+")


@dataclass(frozen=True)
class Identity:
    """Somebody who calls."""

    name: str
    headers: Mapping[str, str]
    valid: bool


def attack(arena: Arena, *, calls: int) -> Tally:
    """So many calls, spread over operations and identities."""
    serializer.alias(_PART_OF_UPLOAD, "application/octet-stream")
    tally = Tally("calls")
    process = ForkedProcess.of(servers.server(arena.folder, model=arena.model, threads=1, batch_size=4))
    process.start()
    try:
        identities = _identities(process)
        process.stop()  # a server that was started without keys goes on without for a moment
        process.start()
        with watching(process.url, process.pid) as watched:
            _Calls(tally, arena, process.url, identities).make(calls)
        watched.note(tally, "calls")
    finally:
        process.stop()
    return tally


def _identities(process: ForkedProcess) -> list[Identity]:
    database = Database(f"sqlite:///{process.settings['store']}/jobs.sqlite")
    database.open()
    keys = Keys(database)
    made = {
        name: keys.add(owner=name, scopes=scopes)
        for name, scopes in {
            "owner": ["segment", "review"],
            "other": ["segment", "review"],
            "admin": ["admin"],
            "revoked": ["admin"],
        }.items()
    }
    keys.revoke(made["revoked"].split("_")[1])
    database.close()
    return [
        Identity("none", {}, valid=False),
        *(Identity(name, {"X-API-Key": key}, valid=name != "revoked") for name, key in made.items()),
    ]


@dataclass
class _Calls:
    tally: Tally
    arena: Arena
    url: str
    identities: list[Identity]
    _seed: int = 0

    def make(self, calls: int) -> None:
        owner = next(one for one in self.identities if one.name == "owner")
        scan = specimens.write_scan(self.arena.folder / "scan.nii.gz", seed=self.arena.seed)
        with httpx.Client(base_url=self.url, headers=owner.headers, timeout=60, trust_env=False) as http:
            document = http.get("/openapi.json").raise_for_status().json()
            found = openapi.from_dict(document).get_all_operations()
            operations = [one.ok() for one in found if isinstance(one, Ok)]
            rounds = [(one, identity, mode) for one in operations for identity in self.identities for mode in _MODES]
            each = max(1, -(-calls // len(rounds)))
            random.Random(self.arena.seed).shuffle(rounds)  # noqa: S311 - not for secrets
            scan_id = ""
            again = itertools.chain.from_iterable(itertools.repeat(rounds, _MOST_ROUNDS))  # some have few calls to make
            for turn, (operation, identity, mode) in enumerate(again):
                if self.tally.counts["calls"] >= calls:
                    break
                scan_id = scan_id if scan_id and specimens.wait(http, scan_id) else specimens.post(http, scan)
                specimens.wait(http, scan_id)
                self._seed = self.arena.seed + turn // len(rounds)
                self._generate(operation, identity, mode, each, scan_id)
                self.arena.say(f"{self.tally.counts['calls']} of {calls} calls, {self.tally.found} findings")

    def _generate(self, operation: Any, identity: Identity, mode: GenerationMode, each: int, scan_id: str) -> None:
        given_path = {"path_parameters": {"scan_id": scan_id}} if "{scan_id}" in operation.path else {}

        @seed(self._seed)
        @settings(
            max_examples=each,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode, **given_path))
        def call(case: Case[Any]) -> None:
            self._call(case, identity, scan_id)

        try:
            call()
        except Exception as error:
            self.tally.count(f"not generated: {type(error).__name__}")

    def _call(self, case: Case[Any], identity: Identity, scan_id: str) -> None:
        for name in ("Authorization", "X-API-Key"):
            case.headers.pop(name, None)
        self.tally.count("calls")
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = case.call(base_url=self.url, session=session, headers=dict(identity.headers), timeout=_SECONDS)
            except requests.exceptions.Timeout:
                self._find(case, identity, f"no answer in {_SECONDS:.0f} s")
                return
            except (requests.exceptions.RequestException, ValueError, UnicodeError) as error:
                self.tally.count(f"not sent: {type(error).__name__}")
                return
        self.tally.count(f"status {answer.status_code}")
        if answer.status_code >= 500 and answer.status_code not in DOCUMENTED:
            self._find(case, identity, f"status {answer.status_code}")
        for failure in _undocumented(case, answer):
            self._find(case, identity, f"status {answer.status_code}: {failure}")
        guarded = case.operation.definition.raw.get("security") != []
        if answer.status_code < 400 and guarded and not identity.valid:
            self._find(case, identity, f"status {answer.status_code} without a valid key")
        if identity.name == "other" and answer.status_code < 400 and scan_id.encode() in answer.content:
            self._find(case, identity, "somebody else's scan is shown")

    def _find(self, case: Case[Any], identity: Identity, what: str) -> None:
        sent = {key: repr(value) for key, value in case.as_transport_kwargs(base_url=self.url).items()}
        name = f"call-{self.arena.seed}-{self.tally.counts['calls']}-{_NAME.sub('-', case.path)[:60]}.json"
        path = self.arena.keep(name, json.dumps({**sent, "identity": identity.name}, indent=1).encode())
        self.tally.find(f"{case.method} {case.path} by {identity.name}: {what}", str(path))


def _undocumented(case: Case[Any], answer: Response) -> list[str]:
    """How an answer differs from what the document says, each in one line."""
    try:
        case.validate_response(answer, checks=CONFORMANCE)
    except (Failure, FailureGroup) as found:
        failures = found.exceptions if isinstance(found, FailureGroup) else (found,)
        return [" ".join(f"{failure.title}: {failure.message}".split()) for failure in failures]
    return []


_MODES: tuple[GenerationMode, ...] = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)

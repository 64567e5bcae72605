"""Alerts and dashboard ask for metrics that there are: those of docs/on-call.md, whose rows a test checks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DASHBOARD = REPOSITORY / "deploy/grafana/dashboards/ricefish.json"
RULES = REPOSITORY / "deploy/prometheus/rules.yaml"
_OF_OTHERS = {"up", "process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def documented() -> set[str]:
    """Names in the table of docs/on-call.md."""
    table = (REPOSITORY / "docs/on-call.md").read_text(encoding="utf-8").partition("## All metrics")[2]
    return {name for line in table.splitlines() for name in re.findall(r"`(ricefish_\w+)`", line.split(" | ")[0])}


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return content


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def rule_queries() -> list[str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def base(metric: str) -> str:
    """The documented name of a histogram's series."""
    return re.sub(r"_(bucket|sum|count)$", "", metric)


@pytest.mark.parametrize("queries", [rule_queries, dashboard_queries], ids=["alerts", "dashboard"])
def test_every_metric_that_is_asked_for_is_documented(queries: Any) -> None:
    """A metric that was renamed is found here, and not on the night when the alert stays silent."""
    names = {name for query in queries() for name in re.findall(r"\b(?:ricefish|process)_\w+", query)}
    assert names
    unknown = {name for name in names - _OF_OTHERS if name not in documented() and base(name) not in documented()}
    assert unknown == set()


def test_every_alert_names_its_place_on_the_page_for_who_is_woken() -> None:
    """The file is there, and so is the heading that the anchor is made of."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor == rule["alert"].lower()
        assert anchor in [heading.lower().replace(" ", "-") for heading in headings]


def test_the_dashboard_can_be_narrowed_to_an_instance() -> None:
    """By a variable that every query asks for, but for that of alerts, which may be of no instance."""
    (variable,) = dashboard()["templating"]["list"]
    assert (variable["name"], variable["includeAll"], variable["multi"]) == ("instance", True, True)
    for query in dashboard_queries():
        selectors = re.findall(r"\b(?:ricefish_\w+|process_\w+|up)\b({[^}]*})?", query.replace('"ricefish', '"'))
        assert all('instance=~"$instance"' in selector for selector in selectors), query
        assert selectors or "ALERTS" in query


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    """Grafana draws two panels in one place without a word."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.process
@pytest.mark.parametrize("queries", [rule_queries, dashboard_queries], ids=["alerts", "dashboard"])
def test_prometheus_understands_every_query(queries: Any, tmp_path: Path) -> None:
    """promtool parses each expression, of the alerts and of the panels."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; on Debian: apt install prometheus")
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    for file in (path, RULES):
        done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.process
def test_prometheus_understands_its_configuration(tmp_path: Path) -> None:
    """promtool accepts what compose.yaml mounts, with the rules where it mounts them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; on Debian: apt install prometheus")
    text = (REPOSITORY / "deploy/compose/prometheus.yaml").read_text(encoding="utf-8")
    assert "/etc/prometheus/rules.yaml" in text
    path = tmp_path / "prometheus.yaml"
    path.write_text(text.replace("/etc/prometheus/rules.yaml", str(RULES)))
    done = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""The manifests of deploy/kubernetes: of the right form, complete, and in step with the server that they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.process.server import GRACE_SECONDS
from serving.settings import Settings
from tests.deploy.test_metrics_named import base, documented

ROOT = Path(__file__).resolve().parents[2] / "deploy/kubernetes"
VERSION = "1.33"
OVERLAYS = ("cpu", "gpu")
KUSTOMIZE = ("Kustomization", "Component")


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Resources of the base by name."""
    found = (document for path in sorted((ROOT / "base").glob("*.yaml")) for document in documents(path))
    return {document["metadata"]["name"]: document for document in found if document["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """Specifications of all pods of the base, and of the one where keys are made."""
    jobs = {name: job["spec"]["jobTemplate"]["spec"]["template"] for name, job in resources("CronJob").items()}
    others = {**resources("Deployment"), **resources("StatefulSet")}
    (keys,) = documents(ROOT / "keys.yaml")
    return {
        **{name: pod["spec"] for name, pod in jobs.items()},
        **{name: other["spec"]["template"]["spec"] for name, other in others.items()},
        keys["metadata"]["name"]: keys["spec"],
    }


@pytest.mark.parametrize("path", [*sorted((ROOT / "base").glob("*.yaml")), ROOT / "keys.yaml"], ids=lambda p: p.name)
def test_kubernetes_accepts_each_resource(path: Path) -> None:
    """The schema of its kind, with no key that Kubernetes does not know."""
    for document in documents(path):
        if document["kind"] not in KUSTOMIZE:
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_slip_would_be_found() -> None:
    """The schemas are strict: a key that nobody knows is an error."""
    (server,) = resources("Deployment").values()
    server["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(server, VERSION, strict=True)


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/kustomization.yaml")), ids=lambda path: path.parent.name)
def test_every_file_that_is_named_is_there_and_every_file_is_named(path: Path) -> None:
    """A manifest that no kustomization.yaml names would be applied by nobody."""
    (content,) = documents(path)
    named = [*content.get("resources", []), *content.get("components", [])]
    named += [patch["path"] for patch in content.get("patches", []) if "path" in patch]
    for name in named:
        assert (path.parent / name).exists(), name
    there = {file.name for file in path.parent.glob("*.yaml")} - {path.name}
    assert there == {name for name in named if not name.startswith("..")}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_patches_are_for_resources_and_images_that_there_are(overlay: str) -> None:
    """A patch or an image whose name has changed in the base would change nothing, or be refused."""
    (content,) = documents(ROOT / overlay / "kustomization.yaml")
    for patch in content["patches"]:
        assert patch["target"]["name"] in resources(patch["target"]["kind"])
        if "path" in patch:
            (changed,) = documents(ROOT / overlay / patch["path"])
            assert (changed["kind"], changed["metadata"]["name"]) == tuple(patch["target"].values())
    used = {container["image"] for name, pod in pods().items() if name != "keys" for container in pod["containers"]}
    assert {image["name"] for image in content["images"]} == used


@pytest.mark.parametrize("name", ["server", "worker", "retraining", "keys"])
def test_pods_can_do_little(name: str) -> None:
    """As the profile `restricted`, which the namespace enforces, wants it; and the root file system is read-only."""
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"] and "cpu" in container["resources"]["requests"]


@pytest.mark.parametrize("name", ["server", "worker"])
def test_what_is_written_to_is_a_volume(name: str) -> None:
    """The two volumes that the image declares are mounted, and each mount is a volume of the pod."""
    pod = pods()[name]
    templates = resources("StatefulSet").get(name, {"spec": {}})["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in templates}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    dockerfile = (ROOT.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    (declared,) = re.findall(r'^VOLUME \["([^"]+)", "([^"]+)"\]$', dockerfile, re.MULTILINE)
    assert set(mounts) == set(declared)
    assert set(mounts.values()) <= volumes


@pytest.mark.parametrize("name", ["server", "worker"])
def test_pods_start_with_settings_that_there_are(name: str) -> None:
    """Each RICEFISH_ variable, of the pod, the ConfigMap and the overlays, is a setting; the name is the pod's."""
    known = {f"RICEFISH_{field.upper()}" for field in Settings.model_fields}
    container = pods()[name]["containers"][0]
    variables = {entry["name"]: entry for entry in container["env"]}
    named = set(variables) | set(resources("ConfigMap")["ricefish"]["data"])
    for overlay in OVERLAYS:
        for path in (ROOT / overlay).glob("*.yaml"):
            named |= set(re.findall(r"RICEFISH_[A-Z_]+", path.read_text(encoding="utf-8")))
    assert {variable for variable in named if variable.startswith("RICEFISH_")} <= known
    assert variables["RICEFISH_WORKER_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_a_server_is_probed_and_given_the_time_that_it_needs_to_end() -> None:
    """Live and ready are asked where they are answered; the grace is more than draining, batches and requests take."""
    server = pods()["server"]
    container = server["containers"][0]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    (drain,) = (float(e["value"]) for e in container["env"] if e["name"] == "RICEFISH_DRAIN_SECONDS")
    assert server["terminationGracePeriodSeconds"] >= drain + 2 * GRACE_SECONDS
    probe = container["readinessProbe"]
    assert drain >= probe["periodSeconds"] * probe["failureThreshold"]


def test_services_disruption_budgets_and_policies_select_pods() -> None:
    """Each selector of a single name means a pod that there is."""
    for kind in ("Service", "PodDisruptionBudget"):
        for resource in resources(kind).values():
            selector = resource["spec"]["selector"]
            name = selector.get("matchLabels", selector)["app.kubernetes.io/name"]
            assert name in pods()
    assert resources("NetworkPolicy")["nothing-else"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_a_gpu_is_asked_for_once_for_each_worker() -> None:
    """In the overlay for GPUs a worker has one, and does not start without."""
    (worker,) = documents(ROOT / "gpu/worker.yaml")
    container = worker["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"]
    assert container["env"] == [{"name": "RICEFISH_DEVICE", "value": "cuda"}]


@pytest.mark.process
def test_workers_are_scaled_by_queries_that_prometheus_understands(tmp_path: Path) -> None:
    """The autoscaler is for the StatefulSet of workers and asks for metrics that there are."""
    (scaled,) = documents(ROOT / "keda/autoscaling.yaml")
    target = scaled["spec"]["scaleTargetRef"]
    assert target["name"] in resources(target["kind"])
    assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"]
    queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    names = {name for query in queries for name in re.findall(r"\bricefish_\w+", query)}
    assert "ricefish_voxels_segmented_total" in names
    assert not {name for name in names if name not in documented() and base(name) not in documented()}
    if promtool := shutil.which("promtool"):
        rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
        path = tmp_path / "rules.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        checked = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.process
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_renders_the_overlay(overlay: str) -> None:
    """Where there is a kustomize, what it makes of an overlay is accepted by Kubernetes, too."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build", ROOT / overlay]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", ROOT / overlay]
    else:
        pytest.skip("neither kustomize nor kubectl is installed; the files were checked one by one")
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for document in yaml.safe_load_all(rendered):
        if document["apiVersion"].partition("/")[0] != "keda.sh":
            kubernetes_validate.validate(document, VERSION, strict=True)

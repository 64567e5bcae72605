"""The repository itself: profiles, lock files, the README's commands, links, sizes, and what no file may name."""

import ast
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from training.params import Params, load_params

REPOSITORY = Path(__file__).resolve().parents[2]
MOST_LINES = 300
MOST_BYTES = 1 << 20

REGISTRIES = tuple(
    ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"))
)
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:home|root|Users|work)/\w")


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows and that are there, by git's patterns."""
    listed = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=REPOSITORY, capture_output=True, check=True)
    paths = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def profile(name: str, folder: Path) -> Params:
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({**content, "profile": name}), encoding="utf-8")
    return load_params(path)


def pins(lock: str) -> dict[str, set[str]]:
    """Versions of each package in a lock file; there are two where platforms differ."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)(?:\[[\w,.-]+\])?==([^\s;\\]+)", (REPOSITORY / lock).read_text(), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def project() -> dict[str, Any]:
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def pages() -> list[Path]:
    return tracked("*.md")


@pytest.mark.parametrize("name", ["demo", "headneck_ct", "paper", "strong"])
def test_each_profile_is_whole(name: str, tmp_path: Path) -> None:
    """Each of the profiles has every key, of the right type, and none that nobody knows."""
    assert profile(name, tmp_path).seed >= 0


def test_the_paper_profile_has_the_numbers_of_section_3_2(tmp_path: Path) -> None:
    """Cross-entropy, Adam at 3e-4, crops of 256, batches of 64, 15 epochs; the Student 5, alpha 0.1, tau 4."""
    params = profile("paper", tmp_path)
    teacher, student = params.train_teacher, params.train_student
    assert (teacher.encoder, teacher.sampling.crop, teacher.dice_weight) == ("resnet18", 256, 0.0)
    assert (teacher.schedule.learning_rate, teacher.schedule.one_cycle) == (3e-4, False)
    assert (teacher.schedule.batch_size, teacher.schedule.epochs) == (64, 15)
    assert (student.schedule.batch_size, student.schedule.epochs) == (64, 5)
    assert (student.alpha, student.temperature) == (0.1, 4.0)
    assert student.pseudo_labels and student.distillation and student.teacher_checkpoint
    assert (params.prepare.validation_share, params.refine.quality_classifier) == (0.25, True)


def test_the_lock_holds_every_direct_dependency_at_a_version_that_is_allowed() -> None:
    """What pyproject.toml asks for is what requirements/all.txt pins: `make lock` was not forgotten."""
    metadata = project()["project"]
    asked = [*metadata["dependencies"], *(one for extra in metadata["optional-dependencies"].values() for one in extra)]
    locked = pins("requirements/all.txt")
    for requirement in map(Requirement, asked):
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert any(requirement.specifier.contains(version) for version in versions), f"{requirement}: locked {versions}"


def test_a_server_installs_no_training_and_the_same_versions() -> None:
    """requirements/serving.txt holds no torch, and no version that all.txt does not hold."""
    serving, everything = pins("requirements/serving.txt"), pins("requirements/all.txt")
    assert not {"torch", "segmentation-models-pytorch", "dvc", "mlflow"} & set(serving)
    assert {"fastapi", "mlflow-skinny", "numpy"} <= set(serving)
    assert all(versions <= everything[name] for name, versions in serving.items())


def test_uv_is_the_same_before_and_after_the_sync() -> None:
    """The uv that pip brings is the uv of the lock, so that the environment does not replace the tool that makes it."""
    assert pins("requirements/uv.txt")["uv"] == pins("requirements/all.txt")["uv"]


def test_every_package_on_disk_is_a_package_of_the_distribution() -> None:
    """What is imported here is installed elsewhere."""
    roots = ("ricefish", "scans", "serving", "training")
    on_disk = {
        ".".join(path.relative_to(REPOSITORY).parent.parts)
        for root in roots
        for path in tracked(f"{root}/*__init__.py")
    }
    assert on_disk == set(project()["tool"]["setuptools"]["packages"])


def test_each_module_has_one_subject() -> None:
    """No module has more than 300 lines, and none is named for being useful."""
    modules = {
        path.relative_to(REPOSITORY): len(path.read_text(encoding="utf-8").splitlines()) for path in tracked("*.py")
    }
    assert {path: lines for path, lines in modules.items() if lines > MOST_LINES} == {}
    assert [path for path in modules if path.stem in {"utils", "util", "common", "helpers", "misc"}] == []


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_the_pipeline_is_read_in_one_sitting(name: str) -> None:
    """Its values and its stages each have a page of fewer than 200 lines."""
    assert len((REPOSITORY / name).read_text(encoding="utf-8").splitlines()) < 200


def test_functions_stay_small() -> None:
    """No function of the product reaches 40 lines, docstring aside."""
    large = []
    parts = ("scans", "training", "serving", "ricefish", "demo", "benchmarks", "harness", "attack")
    for path in tracked(*(f"{part}/*.py" for part in parts)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                lines = (node.end_lineno or 0) - first.lineno + 1
                if lines >= 40:
                    large.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}: {lines} lines")
    assert not large, "\n".join(large)


def test_no_two_test_files_share_a_name() -> None:
    """tests is no package, so pytest imports each file by its bare name and refuses the second of two."""
    names = Counter(path.name for path in tracked("tests/**/test_*.py"))
    assert names and not {name for name, count in names.items() if count > 1}


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    """Where packages come from, and where the repository lies, is each machine's own business."""
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        named = [host for host in REGISTRIES if host in text] + MACHINE_PATH.findall(text)
        found += [f"{path.relative_to(REPOSITORY)}: {name}" for name in named]
    assert not found, "\n".join(found)


def test_git_holds_no_data_and_no_models() -> None:
    """Files of more than 1 MiB, checkpoints and models are DVC's; the lock file alone may be long."""
    files = [path for path in tracked() if path.relative_to(REPOSITORY).parts[0] != "requirements"]
    assert [path for path in files if path.stat().st_size > MOST_BYTES or path.suffix in {".pt", ".onnx"}] == []


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page leads to a file that is there, and to a heading that it has."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in headings(linked), f"{target}: no such heading"


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_make_target_that_is_written_down_exists() -> None:
    """README, docs, CI and hooks name targets of the Makefile."""
    files = [*pages(), REPOSITORY / ".ci/run", REPOSITORY / ".pre-commit-config.yaml", *tracked(".github/*")]
    named = {
        target
        for path in files
        for target in re.findall(r"(?:`|^|: )make ([a-z][a-z0-9-]+)", path.read_text(), re.MULTILINE)
    }
    assert {"setup", "demo", "test", "lint"} <= named
    assert named <= make_targets()


def test_every_ricefish_command_that_is_written_down_exists() -> None:
    """README and docs name commands, sub-commands and options that `ricefish` has."""
    from ricefish.cli.app import app

    root = get_command(app)
    lines = [
        line
        for page in pages()
        for line in re.findall(r"(?:`|^)ricefish ([a-z][^`\n#|]*)", page.read_text(), re.MULTILINE)
    ]
    assert lines
    for line in lines:
        command, words = root, line.split()
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, f"ricefish {line}"
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        used = {word.partition("=")[0] for word in words if re.match(r"-\w$|--[a-z]", word)}
        assert used <= options, f"ricefish {line}: {used - options}"


@pytest.mark.process
def test_every_target_explains_itself() -> None:
    """`make` alone lists every target with what it does."""
    shown = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in shown.splitlines()} == make_targets()

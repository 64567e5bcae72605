# What a newcomer types. Every target that needs the environment makes it first; nothing outside .venv is installed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
READY := $(VENV)/.ready
LOCKS := requirements/uv.txt requirements/all.txt
MODEL ?= models:/ricefish@champion
MLFLOW_PORT ?= 5000
ARGS ?=

# `dvc repro` runs `python -m training.stages.NAME`: the python has to be ours.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(VIRTUAL_ENV)/bin:$(PATH)
export PYTHONNOUSERSITE := 1

# Hundreds of processes are started here, each of which would compile anew all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# No tool reports home, and none fetches anything on its own.
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export ORT_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo check test attack compose-test image-test lint style format serve mlflow repro bench bench-peers bench-capacity \
	bench-resume bench-soak bench-swaps bench-workers bench-viewing bench-training bench-seeds bench-expected gpu-check figures table-1 table-2 bench-drift sbom audit deps graph wheel lock clean

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /  make \1\t/' | expand -t 22

setup: $(READY)  ## make .venv from the hashed lock files (nothing to do: no time)

$(READY): $(LOCKS) pyproject.toml requirements/install.sh
	@requirements/install.sh $(VENV)
	@touch $@

demo: setup  ## train on synthetic fish, serve the model, segment a held-out fish over HTTP
	@python -m demo.run $(ARGS)

check: style  ## what one runs after each edit: style and every quick test that starts no process; ARGS go to pytest
	@pytest -n logical --dist loadfile -m "not process and not slow and not compose" $(ARGS)

test: setup  ## every test but those of compose-test and image-test; ARGS go to pytest
	@pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

attack: setup  ## attack readers, servers and stores, on the loopback (minutes; ARGS=--long: about an hour)
	@python -m attack $(ARGS)

compose-test: setup  ## run compose.yaml without an engine, on Linux as root, and disturb it (30 minutes)
	@pytest -m compose tests/deploy $(ARGS)

image-test: setup  ## build the images (docker, podman or buildah); a scan, `dvc repro` and MLflow go through them
	@python -m tests.images.check $(ARGS)

style: setup  ## style, types, direction of imports
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-logo

lint: style  ## the same, and the tests of the structure: deps of the DVC stages, names, sizes
	@pytest -q tests/architecture

format: setup  ## put every file into the project's format
	@ruff check --fix .
	@ruff format .

serve: setup  ## serve MODEL (default: the registry's champion) on loopback
	@ricefish serve --model $(MODEL) $(ARGS)

mlflow: setup  ## serve the page of all runs and models on loopback, port MLFLOW_PORT
	@echo "MLflow: http://127.0.0.1:$(MLFLOW_PORT)"
	@mlflow server --host 127.0.0.1 --port $(MLFLOW_PORT) --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db"

repro: setup  ## run what is out of date of the pipeline, on the profile in params.yaml
	@dvc repro $(ARGS)

bench: setup  ## scans and single slices over HTTP against a bare onnxruntime loop (about 5 minutes)
	@python -m benchmarks.overhead $(ARGS)

bench-peers: setup  ## Ricefish beside mlflow, MLServer, BentoML and LitServe (20 minutes)
	@python -m benchmarks.peers $(ARGS)

bench-capacity: setup  ## memory and time of scans of 3000 and 6000 slices of 1000 x 1000 pixels (40 GB of disk)
	@python -m benchmarks.capacity $(ARGS)

bench-resume: setup  ## tuspy and tus-js-client, and the server under them, killed in the middle of 1 GB
	@python -m benchmarks.resume $(ARGS)

bench-soak: setup  ## 200 SIGKILLs over scans, uploads and cancellations, on SQLite and on PostgreSQL (half an hour)
	@python -m benchmarks.soak $(ARGS)
	@python -m benchmarks.soak --workers 3 $(ARGS)

bench-swaps: setup  ## 20 moves of the champion under constant load: nothing fails, nothing is mixed (10 minutes)
	@python -m benchmarks.swaps $(ARGS)

bench-workers: setup  ## the same scans through one worker and through two (4 minutes)
	@python -m benchmarks.workers $(ARGS)

bench-viewing: setup  ## how fast a scan of 6 GB is looked at, as its viewer asks for it (minutes)
	@python -m benchmarks.viewing $(ARGS)

bench-training: setup  ## the loop that trains against the bare network, and what a GPU would wait for batches (10 minutes)
	@python -m benchmarks.training_speed $(ARGS)

bench-seeds: setup  ## Teacher, control and Student for five seeds of the demo (about 15 minutes)
	@OMP_NUM_THREADS=1 python -m benchmarks.seeds $(ARGS)  # as `make demo` computes: small patches on one thread

bench-expected: setup  ## the Dice that is expected of organs against the true one, on new fish (about 15 minutes)
	@OMP_NUM_THREADS=1 python -m benchmarks.expected $(ARGS)

gpu-check: setup  ## does the GPU path work here, and how fast: from golden slices to a scan of 6 GB (10 minutes)
	@python -m benchmarks.gpu_check $(ARGS)

figures: setup  ## write what was measured into README and docs/results.md
	@python -m benchmarks.readme

table-1: setup  ## Table 1 of the paper: control and Student over label budgets and seeds; goes on where it ended (hours)
	@OMP_NUM_THREADS=1 python -m benchmarks.tables 1 $(ARGS)

table-2: setup  ## Table 2 of the paper: each part of the recipe beside the control; goes on where it ended (hours)
	@OMP_NUM_THREADS=1 python -m benchmarks.tables 2 $(ARGS)

bench-drift: setup  ## scans unlike the training, and ordinary ones: which are flagged (about 40 minutes)
	@python -m benchmarks.drift $(ARGS)

COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --quiet

PEERS := $(wildcard benchmarks/peers/requirements/*.in)

deps: setup  ## write into dvc.yaml which packages each stage imports
	@python -m tests.architecture.stage_deps

graph: setup  ## draw who imports whom in serving and training into docs/
	@python -m tests.architecture.import_graph

wheel: setup  ## build dist/ricefish-VERSION-py3-none-any.whl: docs/installing.md says how to install it
	@rm -rf build/lib build/bdist.*
	@uv build --quiet --wheel --no-build-isolation --out-dir dist
	@ls dist/*.whl

lock: setup  ## resolve the dependencies of pyproject.toml anew
	@$(COMPILE) --all-extras pyproject.toml -o requirements/all.txt
	@$(COMPILE) --extra serving --extra telemetry -c requirements/all.txt pyproject.toml -o requirements/serving.txt
	@$(COMPILE) --extra serving --extra telemetry -c requirements/all.txt --overrides requirements/cpu-overrides.txt \
		--no-emit-package onnxruntime-gpu pyproject.toml -o requirements/serving-cpu.txt
	@$(COMPILE) --extra training -c requirements/all.txt pyproject.toml -o requirements/training.txt
	@$(COMPILE) --extra tracking -c requirements/all.txt pyproject.toml -o requirements/tracking.txt
	@$(COMPILE) requirements/audit.in -o requirements/audit.txt
	@for peer in $(PEERS); do $(COMPILE) $$peer -o $${peer%.in}.txt; done
	@awk '/^uv==/ {ours = 1} ours && !/^ +#/ {print} ours && !/\\$$/ {exit}' requirements/all.txt > requirements/uv.txt

AUDIT := build/audit
IMAGES := serving serving-cpu training tracking
# No release of DiskCache is without PYSEC-2026-2447: who may write its folder can run code. It is part of DVC, its folder
# is the repository's own .dvc, and whoever writes there changes the pipeline itself. No image that serves holds it.
EXPLAINED := --ignore-vuln PYSEC-2026-2447

$(AUDIT)/.complete: requirements/audit.txt | setup
	@uv venv --quiet --clear $(AUDIT)
	@uv pip install --quiet --python $(AUDIT) --require-hashes -r $<
	@touch $@

sbom: $(AUDIT)/.complete  ## what each image is made of, as CycloneDX: build/sbom/IMAGE.cdx.json
	@mkdir -p build/sbom
	@for image in $(IMAGES); do $(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom/$$image.cdx.json requirements/$$image.txt || exit; done
	@ls build/sbom/*

audit: $(AUDIT)/.complete  ## known vulnerabilities of what the images are made of; asks the package index
	@for image in $(IMAGES); do echo "$$image:" && $(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes $(EXPLAINED) \
		--requirement requirements/$$image.txt || exit; done

clean:  ## remove caches and what the demo left; data, models, runs and .venv stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist store *.egg-info
	@rm -rf demo/overlay.png demo/metrics.json demo/segmentation.nii.gz demo/segmentation_labels.txt demo/logs
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

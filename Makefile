SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

# Commands and tests start many processes; without bytecode each compiles all that it imports.
export PYTHONDONTWRITEBYTECODE =
export EVENT_PIPELINE_HOME ?= $(CURDIR)/.event_pipeline
export DAGSTER_HOME = $(EVENT_PIPELINE_HOME)/dagster

.PHONY: help
help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: $(VENV)/ready ## The virtual environment, from the locked dependencies

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@# uv installs in a fifth of pip's time; pip knows every company's index. Both check the hashes.
	awk '/^[a-z]/ { found = /^uv==/ } found' requirements.lock > $(VENV)/uv.lock
	$(PIP) --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip install -q --compile-bytecode -p $(BIN)/python --require-hashes -r requirements.lock \
		|| $(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.PHONY: demo
demo: setup ## The main job: three hours of events from Bronze to Gold, with what came of them
	@$(BIN)/event-pipeline demo

.PHONY: dev
dev: setup ## Dagster's UI on the same home, with sensors and schedules, on 127.0.0.1
	@$(BIN)/event-pipeline env > /dev/null
	@$(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1

.PHONY: twin
twin: setup ## AWS on this machine: the template deployed into a stand-in, for target aws
	@$(BIN)/python -m event_pipeline_tests.twin.serve

.PHONY: check
check: setup ## ruff and mypy
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy

.PHONY: test
test: check ## All tests that need no browser
	@# Two at a time: a file's tests share a JVM or a twin, so they stay together.
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: torture
torture: setup ## Kills runs, processes and a daemon's session, and asks that nothing is lost; 20 minutes
	@$(BIN)/python -m event_pipeline_tests.torture

.PHONY: test-ui
test-ui: setup ## The tests in headless Chromium (Debian's package chromium)
	@$(BIN)/pytest -m ui event_pipeline_tests/ui

.PHONY: bench
bench: setup ## Speed beside a floor, in one run; writes build/bench.json
	@$(BIN)/python -m event_pipeline_tests.benchmarks.run

.PHONY: bench-day
bench-day: setup ## A day of 180 million events, slot by slot; adds to build/bench.json
	@$(BIN)/python -m event_pipeline_tests.benchmarks.day

.PHONY: bench-backfill
bench-backfill: setup ## A day of that volume by one command, killed half-way; adds to build/bench.json
	@$(BIN)/python -m event_pipeline_tests.benchmarks.backfill

.PHONY: bench-history
bench-history: setup ## What everyday work costs with three years of hours; adds to build/bench.json
	@$(BIN)/python -m event_pipeline_tests.benchmarks.history

.PHONY: bench-requests
bench-requests: setup ## Requests of AWS that a slot takes, counted in the twin
	@$(BIN)/python -m event_pipeline_tests.benchmarks.requests

.PHONY: lock
lock: setup ## Locks the dependencies of pyproject.toml anew
	@$(BIN)/uv pip compile -q --generate-hashes --universal --python-version 3.11 --all-extras --no-strip-extras \
		--no-header pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## Removes the environment and caches; the home stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

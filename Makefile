# Everything that a user, a developer or CI types. Each target sets up what it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# pip's own lines, shortened: one a package that it fetches or installs.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-deps --progress-bar off
SHORT := sed -unE 's/^Collecting ([^ ]+).*/  fetching \1/p; s/^Installing collected.*/  unpacking: a minute or two without a line/p; /^ERROR|^error/p'
PHOTOS ?=
UPGRADE ?=

.PHONY: help install demo serve format check unit test test-jina test-slow test-services bench bench-short lock clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

install: $(INSTALLED)  ## the environment in .venv, from the lock file, and the default model
	@$(BIN)/visual-search models build
	@echo "installed in $(VENV), which is not in your PATH: type \`. $(BIN)/activate\` once in a shell, or $(BIN)/visual-search each time"
	@echo "then: visual-search serve, and in another shell: visual-search index ~/Pictures"

$(INSTALLED): requirements.lock requirements-source.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed (Jina runs on no newer one); set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $$(grep -c '^[a-z]' requirements.lock) packages into $(VENV): about 300 MB to fetch, 1.2 GB on the disk, some minutes"
	@set -o pipefail; $(PIP) --require-hashes --only-binary :all: -r requirements.lock | $(SHORT)
	@# jcloud, which Jina's command line imports, comes as source only; what builds it is in the lock, too.
	@set -o pipefail; $(PIP) --require-hashes --no-build-isolation -r requirements-source.lock | $(SHORT)
	@set -o pipefail; $(PIP) --no-build-isolation --editable . | $(SHORT)
	@touch $@

demo: install  ## index a small photo library, search it, write demo/index.html
	@$(BIN)/python -m executors.demo --output demo $(if $(PHOTOS),--photos "$(PHOTOS)")

serve: install  ## start the flow and stay up
	@$(BIN)/visual-search serve

format: $(INSTALLED)  ## bring the code into the form that `make check` asks for
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: $(INSTALLED)  ## form, lint and types of code and tests, without running any of it
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# Flows take all processors, so tests that start one run one after the other; the others run side by side.
WITH_FLOWS := tests/e2e tests/reliability

unit: install  ## unit tests, and the contracts that stores and embedding backends keep
	@$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile $(addprefix --ignore ,$(WITH_FLOWS) tests/services)

test: install check unit  ## all of it: check, unit, end to end, and what happens when processes die
	@$(BIN)/python -m pytest -q $(WITH_FLOWS)

# The gateway calls stages and shards itself; a flow file that this does not cover goes through Jina's streamer, head and merge.
OVER_JINA := tests/e2e/test_shards.py tests/e2e/test_collections.py tests/e2e/test_one_rule.py \
  tests/reliability/test_faults.py tests/reliability/test_processes.py tests/reliability/test_flow_crash.py

test-jina: install  ## the suites of shards, faults and crashes over Jina's own way through the flow
	@VS_STAGE_CALLS=jina $(BIN)/python -m pytest -q $(OVER_JINA)

test-slow: install  ## the long form of the crash, property and fidelity suites
	@$(BIN)/python -m pytest -q -m slow

test-services: install  ## tests against real servers (Triton, set up from the package index)
	@$(BIN)/python -m pytest -q -m "services and not slow"

BENCHMARKS := flow start loop metrics indexing search fairness recall embedding shared_memory ann footprint writes stalls stages

bench-short: install  ## what a search costs, by process, beside bare grpc.aio and FastAPI (about a minute)
	@$(BIN)/python -m tests.benchmarks.bench_flow --short

bench: install  ## the figures of tests/benchmarks/README.md (about half an hour; other engines with the group `bench`)
	@for name in $(BENCHMARKS); do $(BIN)/python -m tests.benchmarks.bench_$$name || exit 1; done
	@if $(BIN)/python -c 'import hnswlib, lancedb' 2> /dev/null; then $(BIN)/python -m tests.benchmarks.bench_engines; \
	  else echo "other engines are left out; see tests/benchmarks/bench_engines.py"; fi

lock:  ## make requirements.lock anew (needs uv); UPGRADE=--upgrade takes newer versions of what is in it
	@# huggingface-hub only serves downloads by tokenizers, which are not used.
	echo "huggingface-hub; python_version < '3'" > requirements.override
	cat requirements.lock requirements-source.lock > requirements.all
	uv pip compile pyproject.toml $(UPGRADE) --quiet --group build --group test --extra demo --extra text --generate-hashes \
	  --override requirements.override --python-version 3.11 --no-annotate --no-header --output-file requirements.all
	awk '/^[A-Za-z]/{source = /^jcloud==/} source' requirements.all > requirements-source.lock
	awk '/^[A-Za-z]/{source = /^jcloud==/} !source' requirements.all > requirements.lock
	rm requirements.all requirements.override

clean:  ## remove the environment and what the demo wrote
	rm -rf $(VENV) demo

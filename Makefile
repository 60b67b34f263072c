# One command each; every target first runs `setup`, which is quick the second time.
#   make serve   PORT=8000 MODEL=demo      make test      make check      make help

PYTHON ?= python3
PORT ?= 8000
MODEL ?= demo
SOAK_MINUTES ?= 20
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PINS := requirements/serve.txt requirements/dev.txt
# Another index for torch alone, e.g. https://download.pytorch.org/whl/cpu (no CUDA libraries, 200 MB instead of 3 GB).
TORCH_INDEX_URL ?=
TORCH := $(shell grep '^torch==' requirements/serve.txt)

.DEFAULT_GOAL := help
.PHONY: help setup serve test test-system test-clients test-long test-shared test-gpu soak fuzz audit check docs format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  \1|/' | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## virtual environment in .venv with pinned dependencies

$(STAMP): $(PINS) pyproject.toml reward_client/pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "reward-server needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(PINS))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . --editable ./reward_client
	@touch $@

serve: setup ## start the server: PORT=8000 MODEL=demo
	$(BIN)/reward-server serve $(MODEL) --port $(PORT)

test: setup ## the tests that need PyPI only, a file at a time on each of at most four cores
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: setup ## formatting, lint, types, generated docs, and known vulnerabilities where advisories can be had
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check
	$(BIN)/python requirements/audit.py $(PINS)

docs: setup ## rewrite the generated blocks of the pages in docs/
	$(BIN)/python -m docs.generate

format: setup ## rewrite files to the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-system: setup ## the page in a real browser, the image in a real build: installs Debian packages if run as root
	deploy/install-system-packages.sh
	$(BIN)/python -m pytest -m system tests/system

test-clients: setup ## conformance with real client packages, in environments of their own in .venv-clients
	$(BIN)/python -m tests.clients.environments
	$(BIN)/python -m pytest -m clients --durations=0 --durations-min=5 tests/clients

test-long: setup ## the tests that take a while each: processes killed and restarted, every layout harmed
	$(BIN)/python -m pytest -m long

test-shared: setup ## the tests on real conversations of ../shared, where it lies beside the project
	$(BIN)/python -m pytest -m shared

test-gpu: setup ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

soak: setup ## what takes a long time: bursts, faults, mixed traffic for SOAK_MINUTES=20 (docs/reliability.md)
	$(BIN)/python -m pytest -m soak
	$(BIN)/python -m benchmarks.soak.faults
	$(BIN)/python -m benchmarks.soak.burst
	$(BIN)/python -m benchmarks.soak.mixed
	$(BIN)/python -m benchmarks.soak.soak --minutes $(SOAK_MINUTES)

fuzz: setup ## requests that nobody would send, against a real server; schemathesis in a virtual environment of its own
	test -x .venv-fuzz/bin/schemathesis || { $(BIN)/python -m venv .venv-fuzz && .venv-fuzz/bin/pip install --quiet schemathesis==4.32.5; }
	$(BIN)/python -m benchmarks.soak.fuzz --schemathesis .venv-fuzz/bin/schemathesis

audit: setup ## known vulnerabilities of the pins, as in check; here what cannot be looked up is a failure
	$(BIN)/python requirements/audit.py --required $(PINS)

clean: ## remove the virtual environments and caches
	rm -rf $(VENV) .venv-clients .venv-fuzz .venv-audit .schemathesis .pytest_cache .mypy_cache .ruff_cache .hypothesis

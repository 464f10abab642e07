# Needs Python 3.11 or newer and make; everything else is fetched into .venv, each file checked against its hash.
# A target's line in the list is the text after its "##".

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# Only when the locks are compiled anew.
UV := uv==0.13.9
COMPILE := $(BIN)/uv pip compile pyproject.toml --extra embedded --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --quiet $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up test test-long test-containers faults bench check format generate lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.runtime ## play the 2011-2013 cycle on real Kafka and PostgreSQL (ONCE=1: stop at the end)
	@$(BIN)/cec demo $(if $(filter-out 0,$(ONCE)),--once)

up: $(VENV)/.runtime ## the same program for real use: empty, data kept in var/, real clock
	@$(BIN)/cec up

test: check ## everything that must hold: `make check`, then all tests but `make test-long`'s (ARGS="-k name" for some)
	$(BIN)/pytest --session-timeout=1500 $(ARGS)

test-long: test-containers ## what takes longer: containers, the behaviour suite, rolling upgrades, parts that die
	$(BIN)/pytest -m long --session-timeout=2700 $(ARGS)

test-containers: $(VENV)/.dev ## the integration tests on Kafka and PostgreSQL in Docker (brought up where it is missing)
	$(BIN)/python -m tests.containers $(BIN)/pytest -m "not long" --session-timeout=1200 \
		tests/behaviour/test_containers.py tests/integration $(ARGS)

faults: $(VENV)/.dev ## kills, outages, clocks that leap: all bad days, RUNS=20 times with different seeds (FIRST=1: from which on)
	$(BIN)/python -m tests.faults $(or $(RUNS),1) $(FIRST)

bench: $(VENV)/.dev ## what the chassis costs beside bare code (IDS="relay" ROUNDS=3 for less): table, var/bench/results.json
	$(BIN)/python -m benchmarks $(IDS) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(COUNT),--count $(COUNT)) $(if $(GROWTH),--growth) $(if $(FLEETING),--fleeting)

check: $(VENV)/.dev ## the quick part: lint, format, types, import rules, generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m deploy.reference --check

format: $(VENV)/.dev ## rewrite the source in the house format, with the fixes that are safe
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

generate: $(VENV)/.dev ## write docs/reference/ anew from the code
	$(BIN)/python -m deploy.reference

lock: $(VENV)/.dev ## compile requirements/ from pyproject.toml (UPGRADE=1: to the newest versions)
	$(PIP) install --quiet $(UV)
	$(COMPILE) --group build --output-file requirements/runtime.lock
	$(COMPILE) --group dev --constraint requirements/runtime.lock --output-file requirements/dev.lock

clean: ## remove what was made, except the data of `make up` in var/
	rm -rf $(VENV) build dist var/demo var/parts var/bench var/engine .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find schemas services deploy tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Made again when its lock or the project table changes; a second run finds the stamp.
$(VENV)/.runtime $(VENV)/.dev: $(VENV)/.%: requirements/%.lock pyproject.toml | $(BIN)/pip
	@echo "Installing what requirements/$*.lock pins into $(VENV): about a minute the first time"
	@$(PIP) install --require-hashes --no-deps --requirement $<
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# pip is the last thing that venv makes: where it is missing, the environment is incomplete and made anew.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) not found: install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) is too old: 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) can't make environments: install its venv package (Debian, Ubuntu: python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

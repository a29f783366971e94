# Every target works on a machine that has only Python 3.11+ and make: uv is fetched from PyPI when
# absent, and everything lives in .venv and .tools inside this folder.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .tools/uv/bin/uv)
BIN := .venv/bin
KEEP ?= 0
ENGINES ?= 0
# Processes that share the tests: one more than processors, for many tests wait.
JOBS ?= 3

# Tests start hundreds of processes, and the demonstration some. Whatever the caller's environment
# says, none of them compiles again what another one has compiled: that is half of a start.
export PYTHONDONTWRITEBYTECODE =
export PYTHONPYCACHEPREFIX = $(CURDIR)/.venv/bytecode

.PHONY: help setup demo test test-unit lint format bench bench-lifecycle bench-faults clean bench-operator bench-cluster faults-cluster test-whole

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.tools/uv/bin/uv:
	$(PYTHON) -m venv .tools/uv
	.tools/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(BIN)/.ready: pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	$(UV) sync --quiet --frozen --all-extras --python $(PYTHON)
	@touch $@

setup: $(BIN)/.ready ## Make the virtual environment from the lock file

demo: setup ## Store, find and relate real records (KEEP=1 leaves it running, ENGINES=1 on the whole data plane)
	$(BIN)/python -m demo $(if $(filter 1,$(KEEP)),--keep) $(if $(filter 1,$(ENGINES)),--engines)

test: setup ## Every test this machine has what it takes for
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope

test-unit: setup ## The tests that need no file and no server
	$(BIN)/python -m pytest tests/unit

lint: setup ## Formatting, rules, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m analect_operator.crds --check

format: setup ## Format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## The table of speed and size: what was measured beside what is asked
	$(BIN)/python -m benchmarks

bench-lifecycle: setup ## Ageing, backups, restores and erasures
	$(BIN)/python -m benchmarks.tiers
	$(BIN)/python -m benchmarks.backup --erase

bench-operator: setup ## The operator with 1,000 stores on a real API server
	$(BIN)/python -m benchmarks.operator_cluster

bench-faults: setup ## The long campaign: hundreds of real kills under load
	ANALECT_FAULT_ROUNDS=long $(BIN)/python -m pytest tests/acceptance -m faults -rP --timeout 3600

bench-cluster: setup ## The same for dispatcher, workers and engines
	$(BIN)/python -m benchmarks.cluster

faults-cluster: setup ## The long campaign against the processes of a cluster
	ANALECT_FAULT_ROUNDS=long $(BIN)/python -m pytest tests/integration/test_cluster_faults.py \
		tests/engines/test_cluster_engines.py tests/cluster/test_whole_cluster.py -rP --timeout 3600

test-whole: setup ## The whole platform on a real control plane, its pods real processes (3 minutes)
	ANALECT_FAULT_ROUNDS=long $(BIN)/python -m pytest tests/cluster/test_whole_cluster.py

clean: ## Remove what the targets above made
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

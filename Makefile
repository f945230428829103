# make demo | test | packages | suite | test-all | lint | faults | soak | many | fuzz | bench | bench-quick | format | clean
#
# Every target makes and reuses its virtual environment by itself; nothing but python3 with venv is needed.
#   make test PYTHON=python3.12 VENV=.venv312      another interpreter, in an environment of its own
#   make test ARGS="-x -k adapter"                 arguments for pytest
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
# Processes that share the tests; 0 runs them in one.
JOBS   ?= 4
# For `make fuzz` and `make soak`: how long in all; by default 2 and 5.
MINUTES ?=
# For `make fuzz`: one target of tests/fuzz/targets.py, or none for all.
TARGET  ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

.PHONY: demo test packages suite test-all lint format faults soak many fuzz bench bench-quick clean
.DEFAULT_GOAL := test

demo: $(VENV)/.with-demo
	$(BIN)/python -m examples.petstore
	$(BIN)/python -m examples.hub
	$(BIN)/python -m examples.outage
	$(BIN)/python -m examples.gateway

# All that .ci/run runs: lint, types, tests, examples, demo.
test: packages lint suite

# Debian packages for a few tests, as root where there is apt-get; else those tests are skipped.
packages:
	@.ci/packages

suite: $(VENV)/.with-test
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

# The suite on every supported Python of this machine: from PATH, or else from pyenv.
test-all:
	@failed=; missing=; \
	for version in 3.10 3.11 3.12 3.13; do \
	    python=; \
	    for candidate in $$(command -v python$$version) $$HOME/.pyenv/versions/$$version.*/bin/python; do \
	        if "$$candidate" -c 'import venv' 2>/dev/null; then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then missing="$$missing $$version"; continue; fi; \
	    echo "== Python $$version ($$python)"; \
	    $(MAKE) --no-print-directory suite PYTHON="$$python" VENV=".venv$$version" || failed="$$failed $$version"; \
	done; \
	[ -z "$$missing" ] || echo "not found, not tested:$$missing"; \
	if [ -n "$$failed" ]; then echo "failed on:$$failed"; exit 1; fi

lint: $(VENV)/.with-test $(VENV)/.with-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Searches for inputs that break the protocol code, with atheris; an input that does is saved.
#   make fuzz MINUTES=20 TARGET=multiplexer ARGS=--keep
fuzz: $(VENV)/.with-fuzz
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),2) $(if $(TARGET),--target $(TARGET)) $(ARGS)

# Breaks the wire and the peers in every way, and counts what becomes of each request and message: docs/reliability.md.
faults: $(VENV)/.with-test
	$(BIN)/python -m tests.faults $(ARGS)

# Mixed load with a fault every few seconds; memory, tasks, threads and files must be flat at the end.
#   make soak MINUTES=30
soak: $(VENV)/.with-test
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),5) $(ARGS)

# 5,000 idle connections and 200 busy ones on one server; needs 5,500 open files in one process.
many: $(VENV)/.with-test
	$(BIN)/python -m tests.soak.many $(ARGS)

# Measures all of docs/performance.md in about fourteen minutes; ARGS=--page also writes its figures.
# Only the ratios carry over to another machine, and only when nothing else runs meanwhile.
bench: $(VENV)/.with-bench
	$(BIN)/python -m tests.bench $(ARGS)

# The headline, in about a minute.
bench-quick: $(VENV)/.with-bench
	$(BIN)/python -m tests.bench --quick $(ARGS)

format: $(VENV)/.with-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(BIN)/python:
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

# One stamp for each extra: the environment is brought up to date when pyproject.toml has changed.
$(VENV)/.with-%: pyproject.toml | $(BIN)/python
	@echo "Installing restsock[$*] into $(VENV) (once) ..."
	@$(PIP) --editable '.[$*]'
	@touch $@

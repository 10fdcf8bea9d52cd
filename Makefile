# What to type is in README.md; "make lint test" is what CI runs.

# Debian builds its interpreter with profile-guided and link-time optimisation; one compiled without them takes three quarters more
# instructions for what an enrolment does outside of OpenSSL (docs/performance.md).
PYTHON ?= $(firstword $(foreach python,/usr/bin/python3 python3,$(shell \
	$(python) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))) python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export PIP_NO_INPUT := 1

.PHONY: install serve test lint format bench fuzz lock revision clean

install: $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python's venv is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The lock holds what builds this package as well, so that nothing is fetched without a hash.
$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.installed
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

serve: install
	@# Makes an installation where there is none, completes one that was interrupted, and leaves a whole one as it is.
	@$(BIN)/signetry init
	@exec $(BIN)/signetry serve

# They take fixed ports, or compare times: nothing runs beside them.
ALONE := tests/daemons tests/scep/test_oracle.py

test: $(VENV)/.dev
	tests/install-debian-packages
	$(BIN)/python -m pytest $(ALONE:%=--ignore=%) --numprocesses=auto --maxprocesses=4 $(PYTEST_OPTIONS)
	$(BIN)/python -m pytest $(ALONE) $(PYTEST_OPTIONS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A few minutes; the others of benchmarks/ are run by hand, docs/performance.md says how.
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.scep_enrolment
	$(BIN)/python -m benchmarks.scep_latency
	$(BIN)/python -m benchmarks.scep_commits

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz.run
	$(BIN)/python -m tests.fuzz.run_containers

# The development lock first: the runtime lock takes its versions, so that tests run on what is installed.
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links
lock: $(VENV)/.dev
	$(LOCK) --extra dev --extra build --output-file requirements-dev.lock pyproject.toml
	$(LOCK) --extra build --constraint requirements-dev.lock --output-file requirements.lock pyproject.toml

revision: $(VENV)/.dev
	$(BIN)/python -m signetry.migrations.revise "$(MESSAGE)"

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

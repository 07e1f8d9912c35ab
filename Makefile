# Two commands for a new machine with Python >= 3.11, pip and make:
#   make demo   audits two bundled models and prints their verdicts
#   make test   runs the tests
# Before a release, or if a lower bound in pyproject.toml changes (several gigabytes, some minutes):
#   make test-lowest   a subset of the tests and an audit with the versions of constraints/lowest.txt
PYTHON ?= python3
PIP_FLAGS ?=
BIN := .venv/bin

.PHONY: demo test test-slow test-lowest lint docs site bench clean

demo: .venv/installed
	$(BIN)/robcert demo

# As in the robcert command, a thread that waits leaves its core to others.
test test-slow: export GOMP_SPINCOUNT = 2000

# Processes of one thread each: more threads gain little on small models.
test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" --numprocesses logical --maxprocesses 4 --dist loadfile

test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow --timeout 3600

LOWEST_TESTS := tests/trainers/test_export.py tests/certify/stats tests/certify/store/test_store.py tests/certify/comparison \
  tests/certify/importer/graph tests/certify/importer/test_load.py tests/certify/exports

test-lowest: .venv-lowest/installed
	.venv-lowest/bin/pytest -m "not slow" $(LOWEST_TESTS)
	.venv-lowest/bin/robcert audit --profile quick --limit 8 --out .venv-lowest/audit.h5 --overwrite

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: .venv/installed-dev
	$(BIN)/python docs/make.py

# Without --quiet, which would hide the warnings that --strict counts.
site: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --editable ".[dev]"
	touch $@ .venv/installed

.venv-lowest/installed: pyproject.toml constraints/lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints/lowest.txt \
	  --editable ".[distributed,parquet]" "pytest>=8" pytest-timeout hypothesis
	touch $@

clean:
	rm -rf .venv .venv-lowest build dist *.egg-info

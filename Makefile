# Two commands for a new machine with Python >= 3.11, pip and make:
#   make demo   audits two bundled models and prints their verdicts
#   make test   runs the tests
PYTHON ?= python3
PIP_FLAGS ?=
BIN := .venv/bin

.PHONY: demo test test-slow lint docs bench clean

demo: .venv/installed
	$(BIN)/robcert demo

test: .venv/installed-dev
	$(BIN)/pytest -m "not slow"

test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow --timeout 3600

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: .venv/installed-dev
	$(BIN)/python docs/make.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --editable ".[dev]"
	touch $@ .venv/installed

clean:
	rm -rf .venv build dist *.egg-info

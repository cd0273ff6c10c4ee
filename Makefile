PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: quickstart test lint setup

quickstart: setup  ## train MS2SL on real signing and show what it says
	$(BIN)/python -m jobs.quickstart $(ARGS)

test: setup  ## the whole test suite
	$(BIN)/python -m pytest $(ARGS)

lint: setup  ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: .venv/.installed

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

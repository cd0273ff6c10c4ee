PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: quickstart serve test lint lock setup

quickstart: setup  ## train MS2SL on real signing and show what it says
	$(BIN)/python -m jobs.quickstart $(ARGS)

serve: setup  ## the model of the quickstart online, with a page to try it: http://127.0.0.1:8000
	$(BIN)/serve run serve.app:build model=runs/quickstart/model $(ARGS)

test: setup  ## the whole test suite; in two lanes, on a machine with cores to spare: ARGS="-n 2 --dist loadfile --no-loadscope-reorder"
	$(BIN)/python -m pytest $(ARGS)

lint: setup  ## style, common mistakes and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: setup  ## the newest versions that pyproject.toml allows, into .venv and requirements.lock; run the tests then
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable ".[all,dev]"
	$(BIN)/python -m pip freeze --exclude-editable | grep -ivE '^(torch|triton|nvidia-)|@' > .venv/lock  # builds of torch differ
	mv .venv/lock requirements.lock

setup: .venv/.installed

.venv/.installed: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable ".[all,dev]"
	touch $@

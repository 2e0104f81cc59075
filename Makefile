# The whole developer interface: make run, make test, make check. A virtual environment is made first where none is.

PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed

# Nothing here calls home, and encoders come from packages, never from a hub.
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export HF_HUB_OFFLINE := 1
export MLFLOW_DISABLE_TELEMETRY := true
export NO_MKDOCS_2_WARNING := true

.PHONY: run test test-all check audit docs lock ui
.DEFAULT_GOAL := run

run: $(INSTALLED)  ## data, the whole pipeline, promotion, and a table of results
	$(BIN)/python -m flows.pipeline

test: $(INSTALLED)  ## every test that takes seconds
	$(BIN)/python -m pytest -m "not slow"

test-all: $(INSTALLED)  ## also those that take minutes
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## style, types, the direction of imports, and what is installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python infra/audit.py

audit: $(INSTALLED)  ## known vulnerabilities of the pinned packages fail; needs the network
	$(BIN)/python infra/audit.py --strict

docs: $(INSTALLED)  ## the site of guides, tutorials and API, in build/site; a broken link fails
	$(BIN)/mkdocs build --strict

ui: $(INSTALLED)  ## runs, models and who is champion, on http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1

lock:  ## resolve constraints.txt anew from pyproject.toml
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --editable '.[cpu,photos,postgres,s3,test]'
	grep '^#' constraints.txt > .venv-lock/constraints.txt
	.venv-lock/bin/python -m pip freeze --all --exclude-editable --exclude pip >> .venv-lock/constraints.txt
	mv .venv-lock/constraints.txt constraints.txt
	rm -rf .venv-lock

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cpu,postgres,s3,test]'
	touch $@

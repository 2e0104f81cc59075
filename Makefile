# The whole developer interface: make run, make test, make check. A virtual environment is made first where none is,
# with the newest Python that serves, or with the one that PYTHON names.

BIN := .venv/bin
INSTALLED := .venv/.installed

# Nothing here calls home.
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export NO_MKDOCS_2_WARNING := true

.PHONY: run test test-all coverage check audit sbom release docs lock ui doctor python
.DEFAULT_GOAL := run

run: $(INSTALLED)  ## data, the whole pipeline, promotion, and a table of results; PRESET=paper: in presets/paper
	$(BIN)/python -m flows.pipeline $(if $(PRESET),--preset $(PRESET))

# A process a core, four at most. Files start in the order of their folders, so that those that wait most (tests/e2e,
# tests/faults) do not come last. A second thread in each process would take the core of another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)  ## every test that takes seconds
	$(PYTEST) -m "not slow"

test-all: $(INSTALLED)  ## also those that take minutes
	$(PYTEST)

coverage: $(INSTALLED)  ## which branches of src the tests of `make test` reach; less than 90 % fails
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(INSTALLED)  ## style, types, the direction of imports, and what is installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python infra/audit.py

audit: $(INSTALLED)  ## known vulnerabilities of the pinned packages fail; needs the network
	$(BIN)/python infra/audit.py --strict

# The tool stands apart, so that it is no part of what it lists.
sbom: $(INSTALLED)  ## what is installed, with versions and licences, as CycloneDX, in build/sbom.json; needs the network
	$(BIN)/python -m venv build/cyclonedx
	build/cyclonedx/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	build/cyclonedx/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.json $(BIN)/python

release: $(INSTALLED) sbom  ## the wheel that carries the champion (MODEL=... another), into dist/; needs the network
	$(BIN)/python infra/release.py $(MODEL)

docs: $(INSTALLED)  ## the site of guides, tutorials and API, in build/site; a broken link fails
	$(BIN)/mkdocs build --strict

# By itself MLflow begins with its pages for language models; the address is that of the runs.
RUNS := http://127.0.0.1:5000/\#/experiments/1?workflowType=machine_learning

ui: $(INSTALLED)  ## runs, models and who is champion, and beside them Prefect's history, until Ctrl-C
	@echo "runs and models: $(RUNS)"
	@echo "history of the flows: http://127.0.0.1:4200"
	@(sleep 6; $(BIN)/python -m webbrowser "$(RUNS)") > /dev/null 2>&1 &
	@PREFECT_HOME="$$PWD/$(if $(PRESET),presets/$(PRESET)/).prefect" PREFECT_SERVER_ANALYTICS_ENABLED=false \
	  $(BIN)/prefect server start --host 127.0.0.1 --port 4200 > /dev/null & prefect=$$!; \
	trap 'kill $$prefect 2> /dev/null' EXIT; trap exit INT TERM; \
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(if $(PRESET),presets/$(PRESET)/)mlruns/mlflow.db --host 127.0.0.1

doctor:  ## this machine, what is installed and what is wrong with it; works without an installation
	@python=$(BIN)/python; "$$python" -c "" 2> /dev/null || python=$$(bash infra/find_python.sh "$(PYTHON)") || exit 1; \
	PYTHONPATH=src "$$python" -m compodiff.doctor

lock:  ## resolve constraints.txt anew from pyproject.toml, for every Python that serves
	python=$$(bash infra/find_python.sh "$(PYTHON)") && "$$python" infra/lock.py

# Where PYTHON is set, it has to serve, also when everything is installed.
$(INSTALLED): pyproject.toml constraints.txt $(if $(PYTHON),| python)
	@python=$$(bash infra/find_python.sh "$(PYTHON)") && "$$python" infra/install.py

python:
	@bash infra/find_python.sh "$(PYTHON)" > /dev/null

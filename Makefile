# What people do all day. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find core shells -name '*.py') $(wildcard shells/dashboard/static/*)
PORT ?= 8787

.DEFAULT_GOAL := help
.PHONY: help run serve test services lint format typecheck bench bench-more performance-page chaos docs dashboards screenshots clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The package is installed as a wheel, not in place: what is tested and type-checked is what
# users get. A change of the sources reinstalls it, without its dependencies.
$(VENV)/.dependencies: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check '.[asyncio,fast,dashboard]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check '.[dev]'
	@touch $@ $(VENV)/.dependencies

$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	@rm -rf build *.egg-info
	@touch $@

run: $(VENV)/.installed ## Worker, dashboard, simulated viewers on http://127.0.0.1:8787 (PORT=…)
	@$(BIN)/openqoe demo --port $(PORT)

serve: $(VENV)/.installed ## The worker alone on http://127.0.0.1:8787 (PORT=…)
	@$(BIN)/openqoe serve --port $(PORT)

services: ## Install the Debian services that the tests use (prometheus, redis, chromium …), where possible
	@./tests/install-services

# Most tests wait for processes rather than compute, so four at a time keep two cores busy.
test: $(VENV)/.dev $(VENV)/.installed services ## Run all tests
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest -m "not alone" -n 4 --dist loadscope --no-loadscope-reorder

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(VENV)/.dev $(VENV)/.installed ## Check the types of the package and the tests
	$(BIN)/mypy -p openqoe
	$(BIN)/mypy -p tests
	$(BIN)/mypy examples docs/generate.py deploy/gunicorn.conf.py
	MYPYPATH=deploy/grafana $(BIN)/mypy deploy/grafana/generate.py

bench: $(VENV)/.dev $(VENV)/.installed ## Measure (prints ratios of one run)
	$(BIN)/python -m bench.core
	$(BIN)/python -m bench.scale
	$(BIN)/python -m bench.serve

bench-more: $(VENV)/.dev $(VENV)/.installed ## Measure the embedded store, and what a shared one costs
	$(BIN)/python -m bench.embedded
	$(BIN)/python -m bench.scale_out

performance-page: $(VENV)/.dev $(VENV)/.installed ## Write the figures of docs/performance.md
	$(BIN)/pip install --quiet --disable-pip-version-check '.[bench]'
	$(BIN)/python -m bench.page

chaos: $(VENV)/.dev $(VENV)/.installed services ## Kill it 20 times under load, each shell (minutes)
	$(BIN)/python -m tests.support.chaos

docs: $(VENV)/.dev $(VENV)/.installed ## Write the generated pages of docs/
	$(BIN)/python docs/generate.py

dashboards: $(VENV)/.dev $(VENV)/.installed ## Write the Grafana dashboards (deploy/grafana)
	$(BIN)/python deploy/grafana/generate.py

screenshots: $(VENV)/.dev $(VENV)/.installed services ## Make the pictures of docs/images
	$(BIN)/python -m tests.browser.screenshots

clean: ## Remove everything that was made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

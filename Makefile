# Targets for development. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8787

.DEFAULT_GOAL := help
.PHONY: help run serve test services lint format typecheck bench bench-more performance-page chaos docs dashboards screenshots clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# An editable install: edits take effect at once, and editors resolve imports to the checkout.
# CI passes EDITABLE= to test the wheel that users get.
EDITABLE ?= --editable

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check $(EDITABLE) '.[asyncio,fast,dashboard]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check $(EDITABLE) '.[dev]'
	@touch $@ $(VENV)/.installed

run: $(VENV)/.installed ## Worker, dashboard, simulated viewers on http://127.0.0.1:8787 (PORT=…)
	@$(BIN)/openqoe demo --port $(PORT)

serve: $(VENV)/.installed ## The worker alone on http://127.0.0.1:8787 (PORT=…)
	@$(BIN)/openqoe serve --port $(PORT)

services: ## Install the programs that the tests use (prometheus, redis, chromium, node …), where possible
	@./tests/install-services

# Most tests wait for processes instead of computing, so four in parallel keep two cores busy.
# Bytecode is kept even where the environment forbids it (PYTHONDONTWRITEBYTECODE): otherwise each of
# the processes of pytest compiles all modules of the tests.
# The tests that run alone are collected from their files only, which is quicker.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.dev services ## Run all tests
	$(BIN)/python -m pytest -m alone $$(grep -rl --include='test_*.py' 'pytest\.mark\.alone' tests)
	$(BIN)/python -m pytest -m "not alone" -n 4 --dist loadscope --no-loadscope-reorder

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(VENV)/.dev ## Check types
	$(BIN)/mypy -p openqoe
	$(BIN)/mypy -p tests
	$(BIN)/mypy -p bench
	$(BIN)/mypy examples docs/generate.py deploy/gunicorn.conf.py
	MYPYPATH=deploy/grafana $(BIN)/mypy deploy/grafana/generate.py

bench: $(VENV)/.dev ## Measure core, scale and shells (prints ratios of one run)
	$(BIN)/python -m bench.core
	$(BIN)/python -m bench.scale
	$(BIN)/python -m bench.serve

bench-more: $(VENV)/.dev ## Measure the embedded store, a shared store, sustained load (35 minutes)
	$(BIN)/python -m bench.embedded
	$(BIN)/python -m bench.scale_out
	$(BIN)/python -m bench.sustained

performance-page: $(VENV)/.dev ## Write tables and plots of docs/performance.md
	$(BIN)/pip install --quiet --disable-pip-version-check '.[bench]'
	$(BIN)/python -m bench.page

chaos: $(VENV)/.dev services ## Kill each shell 20 times under load (takes minutes)
	$(BIN)/python -m tests.support.chaos

docs: $(VENV)/.dev ## Write the generated pages of docs/
	$(BIN)/python -m docs.generate

dashboards: $(VENV)/.dev ## Write the Grafana dashboards (deploy/grafana)
	$(BIN)/python deploy/grafana/generate.py

screenshots: $(VENV)/.dev services ## Take the screenshots in docs/images
	$(BIN)/python -m tests.browser.screenshots

clean: ## Remove all generated files
	rm -rf $(VENV) build dist package/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

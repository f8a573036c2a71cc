# `make run` and `make test` set up what they need; `make help` lists the rest.

PYTHON ?= python3
ARGS ?=
# Processes that test at a time; 0 tests in one, for a debugger.
JOBS ?= auto

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
HELM := $(VENV)/.helm
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-input
# Measuring coverage makes tests of processes three times as dear: `make test` does so for core/ alone.
TEST := $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=worksteal
# A lock is whole. Without --no-deps pip asks for "coverage[toml]" anew, and fails once there is a newer one.
LOCKED := $(PIP) --require-hashes --no-deps
OURSELVES := $(PIP) --no-deps --no-build-isolation --editable .

# What looks at dependencies is kept apart from them.
AUDITED := .venv-audit/bin
AUDIT := .venv-audit/.ready
LOCKS := $(filter-out requirements/helm.lock requirements/audit.lock,$(wildcard requirements/*.lock))

# A Node.js that tools/setup.sh put there because the machine has none that is new enough.
export PATH := $(CURDIR)/$(VENV)/node:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run test coverage check bench soak drill format lock build image-test audit sbom clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: $(RUNTIME) ## Set up, and start the gateway with a pretend Claude (ARGS="--listen 127.0.0.1:9000" for another port)
	@$(BIN)/tokenweir demo $(ARGS)

test: $(DEV) $(HELM) ## Set up, and run all tests (ARGS="-k name" for some)
	@tools/setup.sh browser
	@tools/setup.sh proxies
	@tools/setup.sh node
	@tools/setup.sh postgresql
	@tools/setup.sh prometheus
	@tools/setup.sh redis
	@tools/setup.sh systemd
	$(TEST) $(if $(ARGS),$(ARGS),--ignore=tests/core)
	$(if $(ARGS),,$(TEST) tests/core --cov=gateway/core --cov-branch --cov-report=term --cov-fail-under=100)

coverage: $(DEV) $(HELM) ## Run all tests and show which lines of the gateway none of them reaches
	$(TEST) --cov=gateway --cov-branch --cov-report=term --cov-fail-under=95 $(ARGS)

check: $(DEV) ## Format, lint, types, import rules, generated files, sizes; changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@for generator in tools/gen_*.py; do echo "$$generator --check"; $(BIN)/python $$generator --check || exit 1; done
	@tools/check_sizes.sh
	@tools/setup.sh node
	npm run --silent --prefix web check

bench: $(RUNTIME) ## Measure what the gateway costs, beside nginx (ARGS="--scenarios S1,S4 --seconds 10")
	@tools/setup.sh nginx
	@tools/setup.sh redis
	@$(BIN)/python -m tools.bench $(ARGS)
	@$(BIN)/python -m tools.bench.limits

soak: $(RUNTIME) ## Half an hour of load, faults and departures: nothing may be left (ARGS="--minutes 2" for a try)
	@$(BIN)/python -m tools.soak $(ARGS)

drill: $(DEV) ## Break Claude, Redis, a quota and the gateway itself, and see that the right alert fires
	@tools/setup.sh prometheus
	@tools/setup.sh redis
	$(BIN)/python -m pytest -v --numprocesses=0 tests/grafana/test_drill.py

format: $(DEV) ## Format, and fix what the linter can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	@tools/setup.sh node
	npm run --silent --prefix web format

lock: ## Resolve the dependencies of pyproject.toml anew into requirements/ (those of web/: npm install --prefix web)
	@tools/lock.sh $(PYTHON)

build: $(DEV) ## Build the wheel into dist/
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

image-test: ## Build the container image and run it as its own user with a read-only root (as root on Debian)
	@tools/image_test.sh

audit: $(AUDIT) ## Ask the registries for known vulnerabilities of what is locked
	$(AUDITED)/pip-audit --disable-pip --require-hashes --progress-spinner off $(LOCKS:%=--requirement %)
	@tools/setup.sh node
	npm audit --prefix web

sbom: $(AUDIT) ## Write what the gateway consists of into dist/sbom.json (CycloneDX)
	@mkdir -p dist
	$(AUDITED)/cyclonedx-py requirements requirements/runtime.lock --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file dist/sbom.json

clean: ## Remove what was set up and built; keeps ./data
	rm -rf $(VENV) .venv-* build dist htmlcov .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@tools/setup.sh venv $(PYTHON) $(VENV)

$(RUNTIME): requirements/runtime.lock requirements/build.lock pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) with the locked dependencies ..."
	@$(LOCKED) --only-binary :all: --requirement requirements/runtime.lock --requirement requirements/build.lock
	@$(OURSELVES)
	@touch $@

$(DEV): requirements/dev.lock pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) with the locked dependencies and the tools for development ..."
	@$(LOCKED) --requirement requirements/dev.lock
	@$(OURSELVES)
	@touch $@

$(HELM): requirements/helm.lock | $(DEV)
	@echo "Setting up Helm ..."
	@$(LOCKED) --requirement requirements/helm.lock
	@touch $@

$(AUDIT): requirements/audit.lock
	@tools/setup.sh venv $(PYTHON) .venv-audit
	@$(AUDITED)/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps --requirement $<
	@touch $@

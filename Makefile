# Every task of the project. `make help` lists them; each one sets the environment up first where it needs it.

PYTHON ?= python3
BIN := .venv/bin
# One stamp per content of the two files: a second set-up is instant, a changed requirement is noticed.
STAMP := .venv/.set-up-$(shell cat requirements.lock pyproject.toml | cksum | tr ' ' '-')
BENCH := $(sort $(patsubst benchmarks/%.py,%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-nocobase check check-style check-types check-floors check-schema check-lock check-docs fix docs lock bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## Make .venv with the locked requirements (PYTHON=python3.13 picks the interpreter)
	@true

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "No $(PYTHON) here. Debian, Ubuntu: apt install python3 python3-venv"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "With a newer one installed: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. Debian, Ubuntu: apt install python3-venv"; exit 1; } >&2
	@echo "Setting up .venv (once; takes a minute or two)" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@rm -f .venv/.set-up-*
	@touch $@

demo: $(STAMP) ## See it work without a WeCom account (ARGS="--users 50" passes options on)
	@$(BIN)/python -m app demo $(ARGS)

run: $(STAMP) ## Serve: database, keys and admin token are made on first start in ./data
	@$(BIN)/python -m app serve $(ARGS)

test: $(STAMP) ## Run the tests (PYTEST_ARGS="-k guard" passes options on)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -ra $(PYTEST_ARGS)

# Ends with 75 where NocoBase cannot be had: no Node.js, no PostgreSQL, or no answer from the npm registry.
test-nocobase: $(STAMP) ## Run the tests against a real NocoBase, which it installs once (two or three minutes)
	@tests/nocobase/up >/dev/null || exit; trap 'tests/nocobase/up --stop' EXIT; \
	  $(BIN)/python -m pytest tests/nocobase/test_*.py $(PYTEST_ARGS)

check: check-style check-types check-floors check-schema check-lock check-docs ## Style, types, import floors, schema, lock, generated pages

check-style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types: $(STAMP)
	$(BIN)/mypy

check-floors: $(STAMP)
	$(BIN)/lint-imports

# The migrations must lead to exactly the tables that the code knows.
check-schema: $(STAMP)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  export WECOM_SYNC_DATABASE_URL="sqlite:///$$folder/check.db" && \
	  $(BIN)/alembic upgrade head && $(BIN)/alembic check

check-lock: $(STAMP)
	$(BIN)/python .ci/check_lock.py

check-docs: $(STAMP)
	$(BIN)/python .ci/settings_docs.py --check

fix: $(STAMP) ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write .env.example and the README's settings table from the settings
	$(BIN)/python .ci/settings_docs.py

lock: $(STAMP) ## Write requirements.lock from pyproject.toml (LOCK_ARGS=--upgrade takes the newest versions)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-config \
	  --custom-compile-command "make lock" $(LOCK_ARGS) pyproject.toml -o requirements.lock

bench: $(STAMP) ## Run the benchmarks (BENCH=callback picks one, ARGS passes options on)
	@for each in $(BENCH); do $(BIN)/python -m benchmarks.$$each $(ARGS) || exit; done

clean: ## Remove .venv and the tools' caches; ./data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis

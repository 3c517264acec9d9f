# Shopkeeper: everything starts here. `make run` and `make test` set up what they need on a machine that has only
# Python 3.11 or later, git and make.

PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,$(shell $(name) -c 'import sys; print("$(name)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
UV := UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never $(BIN)/uv --no-config --quiet
# One more than there are cores: many tests wait for a server.
JOBS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))
# Some systems switch this on; then each of the tests' processes compiles every module again.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help run provider test quick check types lint bench format pins clean programs services

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start the server with a demo shop on http://127.0.0.1:4433
	@exec $(BIN)/shopkeeper serve --dev --demo $(ARGS)

provider: $(VENV)/.run ## start an OpenID provider on http://127.0.0.1:4460 to try social sign-in with
	@exec $(BIN)/python -m tests.services.try_provider

test: $(VENV)/.dev programs ## everything the tests need, then all of them
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

quick: $(VENV)/.dev ## what one edit needs: the tests of what has changed, and a core, without servers
	@$(BIN)/python -m tests.quick -n $(JOBS) --dist worksteal $(ARGS)

check: $(VENV)/.dev ## lint, types, the import contract, the docs' examples
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy examples/fastapi-shop/shop.py
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q tests/docs

bench: $(VENV)/.dev ## the benchmarks, as ratios within one run
	@exec $(BIN)/python -m bench $(ARGS)

format: $(VENV)/.dev ## lay the code out
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

programs: $(VENV)/.dev
	@$(BIN)/python tests/services/install.py
	@$(BIN)/python -m tests.services.node

$(VENV)/.tools: requirements/tools.txt
	@test -n "$(PYTHON)" || { echo "Shopkeeper needs Python 3.11 or later; none was found on the PATH."; exit 1; }
	@echo "Setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml $(VENV)/.tools
	@$(UV) pip install --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/run.txt
	@$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

COMPILE := pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url --custom-compile-command "make pins"
pins: $(VENV)/.tools ## pin the newest versions that pyproject.toml allows (UPGRADE=--upgrade moves all)
	@$(UV) $(COMPILE) $(UPGRADE) requirements/tools.in -o requirements/tools.txt >/dev/null
	@$(UV) $(COMPILE) $(UPGRADE) requirements/node.in -o requirements/node.txt >/dev/null
	@$(UV) $(COMPILE) $(UPGRADE) pyproject.toml -o requirements/run.txt >/dev/null
	@$(UV) $(COMPILE) $(UPGRADE) --extra dev pyproject.toml -o requirements/dev.txt >/dev/null

clean: ## take away what was made, but not your data in var/
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

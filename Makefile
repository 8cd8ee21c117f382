# Every task of the project, each a short verb. `make` alone lists them.
# Settings: PYTHON (an interpreter >= 3.11 for a new .venv), KEYTURN_PORT (default 4566), FILE and ARGS for push.

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
CODE := src cli functions tools tests bench
SAM_ENVIRONMENT := SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none

# Handlers' folders are zipped as they lie, __pycache__ and all.
export PYTHONDONTWRITEBYTECODE := 1
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up down drill push invoke test bench simulate fuzz check lint audit format lock clean
.SILENT:

help: ## print this list
	awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with what demo, up, down and push need
	tools/setup.sh run

setup-dev:
	tools/setup.sh dev

demo: setup ## run the whole system on this machine with 1,000 and more sample events, check and report
	$(BIN)/keyturn demo $(ARGS)

up: setup ## start the local engine, build and deploy the stack, keep it running
	$(BIN)/keyturn up $(ARGS)

down: setup ## stop what `make up` started
	$(BIN)/keyturn down $(ARGS)

drill: setup ## put faults into the running stack on purpose, or into one of its own, and check: make drill ARGS=zombie-worker
	$(BIN)/keyturn drill $(ARGS)

push: setup ## put JSON lines into the stream: make push FILE=orders.jsonl ARGS='--wait'
	test -n "$(FILE)" || { echo "Error: which file? make push FILE=orders.jsonl (options go into ARGS='...')" >&2; exit 2; }
	$(BIN)/keyturn push "$(FILE)" $(ARGS)

invoke: setup ## run one function in a container, by sam local invoke: make invoke NAME=dispatcher EVENT=events/dispatcher/batch.json
	test -n "$(NAME)" || { echo "Error: which function? make invoke NAME=dispatcher (EVENT=file if not the first of events/NAME, options for sam in ARGS='...')" >&2; exit 2; }
	$(BIN)/keyturn invoke "$(NAME)" $(if $(EVENT),--event "$(EVENT)") -- $(ARGS)

# Two cores are busy with three workers: one of them runs end-to-end tests, which wait half of their time (tests/dealing.py).
test: setup-dev ## run all tests
	$(PYTEST) -n 3 --dist loadfile $(ARGS)

fuzz: setup-dev ## look much longer for input that breaks what reads it: make fuzz EXAMPLES=20000 ARGS='-k aggregate'
	EXAMPLES=$(or $(EXAMPLES),5000) $(PYTEST) tests/hostile -n 2 --timeout 7200 $(ARGS)

simulate: setup-dev ## simulate histories with faults and check every promise: make simulate SEED=1 RUNS=1000
	PYTHONHASHSEED=0 PYTHONPATH=src:cli:. $(BIN)/python -m tests.simulator --seed $(or $(SEED),1) --runs $(or $(RUNS),1000) $(ARGS)

bench: setup ## measure Keyturn against naive apps, DBOS and Restate, and write docs/performance.md: make bench ARGS='--scale 0.1'
	PYTHONPATH=src:cli:. $(BIN)/python -m bench $(or $(ARGS),--page)

check: setup-dev lint ## format, lint, types, state machines, template, fast tests
	$(PYTEST) -m "not engine" -q $(ARGS)

lint: setup-dev ## what check does, without the tests
	$(BIN)/ruff format --check --quiet . || { echo "Error: some files aren't formatted. Run: make format" >&2; exit 1; }
	$(BIN)/ruff check --quiet .
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src cli functions
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tools.lint_statemachines
	$(SAM_ENVIRONMENT) $(BIN)/sam validate --lint

audit: setup-dev ## look every locked dependency up in the advisory database; exits with 3 when that can't be asked
	$(BIN)/python -m tools.audit

format: setup-dev ## format the code and sort imports
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

lock: ## resolve the dependencies anew (needs uv)
	tools/lock.sh

clean: ## remove .venv and everything that was built; stop `make up` first
	test ! -e .keyturn/engine.json || { echo "Error: an engine of this project may still run. Stop it first: make down" >&2; exit 1; }
	rm -rf .venv .aws-sam .keyturn .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Every target sets up what it needs; only Python >= 3.11, make and a compiler are assumed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run test lint bench faults migrate format
.DEFAULT_GOAL := help

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.venv/run: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements.txt requirements-dev.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt
	@touch .venv/run $@

run: .venv/run ## Serve on http://127.0.0.1:5000 (PORT, DATA_DIR and the other settings from the environment)
	@exec $(BIN)/python run.py

migrate: .venv/run ## Bring the database of DATABASE_URL up to date
	@$(BIN)/alembic upgrade head

lint: .venv/dev ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: .venv/dev ## Put the code in its usual form
	@$(BIN)/ruff check --fix --quiet . && $(BIN)/ruff format --quiet .

test: .venv/dev ## Run all tests (PostgreSQL, Redis and Chromium where they can be had); T="-k name" selects
	@$(BIN)/python -m tests $(T)

bench: .venv/dev ## Measure against raw floors; B=name runs one
	@$(BIN)/python -m benchmarks $(B)

N ?= 30
faults: .venv/dev ## Kill the process N times at each step of the pipeline and count what is lost or doubled (BROKER=tradovate: at the simulator)
	@$(BIN)/python -m tests.faults --kills $(N) $(if $(BROKER),--$(BROKER))

# Each target is short; what it does in detail stands in the file it calls.
PYTHON ?= python3
STACK  ?= dev
BIN    := .venv/bin
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-annotate --no-header

.PHONY: demo demo-down test test-long matrix check format bench lock up down clean

demo: .venv/ready            ## the whole chain, explained as it runs
	$(BIN)/python tools/demo.py

demo-down: .venv/ready       ## end what an interrupted demo left behind
	$(BIN)/python tools/demo.py --down

test: .venv/ready check      ## every test that a developer waits for, the real engine included
	engine=$$($(BIN)/python tools/engine/get.py) && \
	    PATH="$$engine:$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 4 --dist worksteal -m "not long"

test-long: .venv/ready       ## crash matrices and scenarios that take minutes
	engine=$$($(BIN)/python tools/engine/get.py) && \
	    PATH="$$engine:$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist worksteal -m long

matrix: .venv/ready          ## the tests on the oldest SDK, on the oldest and on a new Python
	$(BIN)/python tools/matrix.py

check: .venv/ready           ## format, lint, types, walls, stack files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/thingspace lint stacks/
	$(BIN)/python tools/check_glossary.py

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready           ## figures beside an alternative, as ratios of one run; tables and plots in build/
	engine=$$($(BIN)/python tools/engine/get.py) && export PATH="$$engine:$(CURDIR)/$(BIN):$$PATH" && \
	    for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

up: .venv/ready              ## make up STACK=staging
	tools/pulumi stack select --create $(STACK)
	tools/pulumi up --stack $(STACK)

down: .venv/ready            ## make down STACK=staging
	tools/pulumi destroy --stack $(STACK)

lock: .venv/ready            ## pin anew what pyproject.toml asks for: the newest of all, and the oldest it allows
	$(COMPILE) --generate-hashes --extra dev pyproject.toml -o requirements-dev.txt
	mkdir -p build
	$(COMPILE) --resolution lowest-direct pyproject.toml -o build/oldest.txt
	$(COMPILE) --generate-hashes --extra dev pyproject.toml -c build/oldest.txt -o requirements-oldest.txt

.venv/ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf .venv .matrix .thingspace build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

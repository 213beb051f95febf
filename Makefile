# Each target is short; the file that it calls holds the details.
.DEFAULT_GOAL := help
PYTHON ?= python3
STACK  ?= dev
BIN    := .venv/bin
WITH_PULUMI_CLI = folder=$$($(BIN)/python tools/pulumi_cli/get.py) && export PATH="$$folder:$(CURDIR)/$(BIN):$$PATH" &&
UV_COMPILE = $(BIN)/uv pip compile --quiet --no-emit-index-url --no-annotate --no-header
COMPILE = $(UV_COMPILE) --universal --python-version 3.10
IMAGE_COMPILE = $(UV_COMPILE) --python-version 3.13 --python-platform linux --generate-hashes -c requirements-dev.txt

.PHONY: help demo demo-down test test-fast test-long test-cluster matrix check docs reference pictures format bench \
	dist dist-check wheel-test image lock up down clean

help:                        ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/ready            ## run the whole chain on this machine and explain each step
	$(BIN)/python tools/demo.py

demo-down: .venv/ready       ## remove the processes and the state of an interrupted demo
	$(BIN)/python tools/demo.py --down

test-fast: .venv/ready       ## run the tests that start no process (less than 30 seconds)
	$(BIN)/python -m pytest -q -m fast

test: .venv/ready check      ## run all tests except the long ones, with the Pulumi CLI
	$(WITH_PULUMI_CLI) $(BIN)/python -m pytest -n $(or $(JOBS),4) --dist worksteal -m "not long and not cluster"

test-long: .venv/ready       ## run the crash and outage tests (about 15 minutes)
	$(WITH_PULUMI_CLI) $(BIN)/python -m pytest -n $(or $(JOBS),2) --dist worksteal -m long

test-cluster: .venv/ready    ## run the listener in a real Kubernetes (as root on Linux, about 10 minutes; see CONTRIBUTING.md)
	$(BIN)/python -m tools.cluster.run $(PYTEST_OPTIONS)

matrix: .venv/ready          ## run the tests with the oldest Pulumi SDK, the oldest Python and a new Python
	$(BIN)/python tools/matrix.py

check: .venv/ready           ## check format, lint rules, types, import contracts and stack files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/thingspace lint stacks/
	$(BIN)/python tools/check_glossary.py

docs: .venv/ready            ## build the documentation site into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

reference: .venv/ready       ## write the pages of docs/reference/ that are made from the code
	$(BIN)/python -m tools.reference

pictures: .venv/ready        ## make the pictures of the web pages in docs/images/ again, with Chromium
	$(BIN)/python tools/page_pictures.py

format: .venv/ready          ## format the code and fix lint findings
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready           ## run the benchmarks; tables and plots go to build/
	$(WITH_PULUMI_CLI) for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

dist: .venv/ready            ## build the wheel and the source distribution into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

dist-check: dist             ## check both distributions, and write the SBOM of the locked runtime set into build/
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	mkdir -p build
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file build/sbom.cdx.json deploy/requirements.txt

wheel-test: .venv/ready      ## run the tests of the matrix against the wheel, with Python 3.13 alone
	$(BIN)/python tools/matrix.py 3.13

image:                       ## build the listener's container image with docker, podman or buildah
	deploy/build-image $(IMAGE_OPTIONS)

up: .venv/ready              ## deploy a stack: make up STACK=staging (default: dev)
	tools/pulumi stack select --create $(STACK)
	tools/pulumi up --stack $(STACK)

down: .venv/ready            ## destroy a stack: make down STACK=staging (default: dev)
	tools/pulumi destroy --stack $(STACK)

lock: .venv/ready            ## pin the newest and the oldest dependencies that pyproject.toml allows
	$(COMPILE) --generate-hashes --extra dev pyproject.toml -o requirements-dev.txt
	mkdir -p build
	$(COMPILE) --resolution lowest-direct pyproject.toml -o build/oldest.txt
	$(COMPILE) --generate-hashes --extra dev pyproject.toml -c build/oldest.txt -o requirements-oldest.txt
	echo 'pulumi; sys_platform == "none"' > build/without-pulumi.txt
	$(IMAGE_COMPILE) $(foreach extra,listener postgres kafka telemetry,--extra $(extra)) --override build/without-pulumi.txt pyproject.toml -o deploy/requirements.txt
	echo hatchling > build/build-system.txt
	$(IMAGE_COMPILE) build/build-system.txt -o deploy/requirements-build.txt

.venv/ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:                       ## remove environments, builds and caches
	rm -rf .venv .matrix .thingspace build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

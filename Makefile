# Two commands set everything up on a fresh machine with Python >= 3.11: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz browser lint docs notebooks bench format clean

help: ## Show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/demo ## Install, analyse a small real model, draw figures, write a page: ./demo-report
	$(BIN)/spectra analyze demo --output demo-report
	$(BIN)/spectra plot demo-report alpha-by-depth
	$(BIN)/spectra plot demo-report esd
	@echo "Look at demo-report/: layers.csv, report.json and figures/. The page, for a browser:"
	@$(BIN)/spectra report demo-report

# One thread for each of the two workers: more of them wait for each other, and tests take twice as long.
# Each worker has one half of the files in order, so that few fixtures are made twice; the first to end takes over tests.
test: $(VENV)/test browser ## Install and run the whole test suite
	SPECTRA_REQUIRE_OPTIONAL=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

fuzz: $(VENV)/fuzz ## Fuzz the reader of safetensors headers for 15 seconds, guided by coverage (FUZZ=60 for a minute)
	$(BIN)/python -m tests.fuzz.fuzz_header fuzz-corpus -seed=1 -max_total_time=$(or $(FUZZ),15)

# The page is tested in a real browser: the system's Chromium, from its packages.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; \
	else \
	  echo "No Chromium: the tests of the HTML page will fail. Install the package 'chromium' (or google-chrome) and run again."; \
	fi

lint: $(VENV)/lint ## Check style, docstrings and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/lint ## Apply the formatter and the fixes that are safe
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/docs ## Build the site, without a network: docs/_build/index.html
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build
	@echo "Look at docs/_build/index.html"

notebooks: $(VENV)/docs ## Run the notebooks and write their pages, with outputs and figures: docs/notebooks
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_notebooks.py $(ARGS)

bench: $(VENV)/test ## Speed and memory beside WeightWatcher and powerlaw, as ratios
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove the environment, the site and what the demo wrote
	rm -rf $(VENV) demo-report docs/_build docs/studies docs/project

$(VENV)/python:
	$(PYTHON) -c 'import sys; sys.exit("Spectra needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch first and alone: pinned exactly it installs the build meant for this machine.
$(VENV)/torch: $(VENV)/python constraints.txt
	$(PIP) "$$(grep -E '^torch==' constraints.txt)"
	touch $@

$(VENV)/demo: $(VENV)/torch $(SOURCES)
	$(PIP) --editable '.[demo,report]'
	touch $@

$(VENV)/test: $(VENV)/torch $(SOURCES)
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/fuzz: $(VENV)/torch $(SOURCES)
	$(PIP) --editable '.[fuzz]'
	touch $@

$(VENV)/lint: $(VENV)/torch $(SOURCES)
	$(PIP) --editable '.[test,lint]'
	touch $@

$(VENV)/docs: $(VENV)/torch $(SOURCES)
	$(PIP) --editable '.[docs]'
	touch $@

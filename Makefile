# Two commands do all the set-up: `make demo` runs the quickstart, `make test` the tests.
# TORCH_INDEX=URL takes PyTorch from another index, such as the one of its CPU wheels.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PIP := $(VENV)/bin/python -m pip
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint types layers check clean

demo: $(INSTALLED)
	$(VENV)/bin/distilsearch quickstart

test: $(INSTALLED)
	$(VENV)/bin/pytest

check: lint types layers

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(INSTALLED)
	$(VENV)/bin/mypy

layers: $(INSTALLED)
	$(VENV)/bin/lint-imports

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[quickstart,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

# Two commands do all the set-up: `make demo` runs the quickstart, `make test` the tests.
# TORCH_INDEX=URL takes PyTorch from another index, such as the one of its CPU wheels.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PIP := $(VENV)/bin/python -m pip
INSTALLED := $(VENV)/.installed
XLA_VENV ?= .venv-xla
XLA_INSTALLED := $(XLA_VENV)/.installed

.PHONY: demo test test-xla lint types layers check audit clean

demo: $(INSTALLED)
	$(VENV)/bin/distilsearch quickstart

# A file of tests is one process's: two cores take little more than half the time of one. The order of files is that of
# tests/conftest.py, those with long tests first. A process of tests that dies ends them all, and its test is named: with
# another in its place xdist waits for ever for the files that the dead one had finished.
test: $(INSTALLED)
	$(VENV)/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# XLA's own processor back end, for real: an environment of its own, since torch_xla needs one version of torch.
test-xla: $(XLA_INSTALLED)
	PJRT_DEVICE=CPU $(XLA_VENV)/bin/pytest tests/profiling/devices/test_devices.py tests/profiling/devices/test_xla.py

check: lint types layers

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(INSTALLED)
	$(VENV)/bin/mypy

layers: $(INSTALLED)
	$(VENV)/bin/lint-imports

# Advisories of our dependencies, from the registry's page of each; where it cannot be reached that is said.
audit:
	$(PYTHON) .ci/audit.py

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[quickstart,onnx,openvino,dev]'
	touch $@

$(XLA_INSTALLED): pyproject.toml constraints-xla.txt
	$(PYTHON) -m venv $(XLA_VENV)
	$(XLA_VENV)/bin/python -m pip install --quiet --constraint constraints-xla.txt torch torch_xla
	$(XLA_VENV)/bin/python -m pip install --quiet --constraint constraints-xla.txt --editable '.[quickstart,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(XLA_VENV) build dist *.egg-info

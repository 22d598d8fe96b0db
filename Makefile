# Everything runs in a virtual environment of this directory, made on first use and again when setup.cfg
# changes. Needed: make, and a python3 of 3.11 or newer with venv. Not needed: root, Docker, a database.
#
#   make demo    the main job on a real Postgres; ends by itself, exit code 0 when every row is right
#   make test    all tests
#   make lint    ruff and mypy
#   make bench   what is measured, beside the raw limit; BENCH=--quick for a tenth of the rows
#   make clean   remove the environment and every cache

SHELL := /bin/bash
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
METADATA := setup.cfg pyproject.toml Makefile

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test lint bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/liberator demo

# Cheap tests come first (tests/conftest.py); TESTS names some of them. They are dealt out a few at a time, so
# that all processes are busy to the end; a process that hung is not replaced, the run ends. For a third of their
# time tests wait for servers, so there is one process more than there are processors.
JOBS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) + 1 )))
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --maxschedchunk 8 --max-worker-restart 0 $(TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m bench $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras: .demo, .dev, .bench. Of the drivers that tests use mysqlclient has to be
# compiled, so it is installed where that can be done; its tests are skipped elsewhere.
$(VENV)/.%: $(METADATA) | $(BIN)/python
	@echo "installing liberator-cdc[$*] into $(VENV)"
	@$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@if [ $* = dev ] && { type mariadb_config || type mysql_config; } >/dev/null 2>&1; then \
	    $(BIN)/python -m pip install --quiet mysqlclient >/dev/null 2>&1 || echo "mysqlclient cannot be compiled"; \
	fi
	@touch $@

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    echo "making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "$$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; \
	done; \
	echo "no python3 of 3.11 or newer found; name one: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

# make train · make test · make lint · make bench. Each sets up all it needs in .venv; all are safe to repeat.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.PHONY: help install train test lint format bench clean

help:
	@echo "make train    set up .venv, run the quickstart: about ten minutes on two cores"
	@echo "make test     set up .venv, run the tests"
	@echo "make install  set up .venv only (PYTHON=python3.12 picks another Python)"
	@echo "make lint     formatter, linter, type checker, import contract"
	@echo "make bench    the speed benchmarks: about 25 minutes on two cores"
	@echo "make clean    remove .venv and caches; runs/ is kept"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "finewise needs Python 3.11 or newer, and '$(PYTHON)' is not; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "finewise: making $(VENV)"; \
	  $(PYTHON) -m venv --clear $(VENV) || { echo "finewise: Python's venv is missing; on Debian: apt install python3-venv"; exit 1; }; }
	@echo "finewise: installing into $(VENV) (one to three minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[quickstart,dev]'
	@touch $(READY)
	@echo "finewise: $(VENV) is ready"

train: $(READY)
	@echo "finewise: python -m embed.train +exp=embed-quickstart $(ARGS)"
	@$(BIN)/python -m embed.train +exp=embed-quickstart $(ARGS)

# One torch thread per test process: two processes with two threads each would wait for one another.
test: $(READY)
	@echo "finewise: running the tests"
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto --dist loadfile -q $(ARGS)

lint: $(READY)
	@echo "finewise: ruff format, ruff check, mypy, import contract"
	@$(BIN)/ruff format --check --quiet . || { echo "run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/python -m mypy --no-error-summary
	@out=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$out"; exit 1; }

format: $(READY)
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

# SetFit is only compared with. ARGS="encoding --rounds 7" runs one bench; ARGS="--json speed.json" keeps what was found.
bench: $(READY)
	@$(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("setfit") is None)' || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]' || \
	  echo "finewise: SetFit could not be installed; its bench is left out"
	@echo "finewise: python -m benchmarks.speed $(ARGS)"
	@$(BIN)/python -m benchmarks.speed $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

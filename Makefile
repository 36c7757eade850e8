# Two commands set everything up: make demo, make test. Needs Python >= 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check -q
PYTEST = $(BIN)/python -m pytest -q

.PHONY: demo test proof lint bench clean
.DEFAULT_GOAL := help
.PHONY: help

help:
	@echo "make demo   install the core, predict, validate and score the embedded sample"
	@echo "make test   install what the tests need and pass them"
	@echo "make proof  the slow proofs, with the real data of ../shared/fixtures"
	@echo "make bench  the speed tables (tests/bench/scoring.py, frames.py, manifest.py)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/core: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/test: $(VENV)/core tests/requirements.txt
	$(PIP) install -c constraints.txt -r tests/requirements.txt
	$(PIP) install --no-deps vos-benchmark==0.1.0 trackeval==1.3.0
	@touch $@

demo: $(VENV)/core
	$(BIN)/refvps predict -p motion -b sample --out demo/preds
	$(BIN)/refvps validate --pred demo/preds -b sample
	$(BIN)/refvps evaluate --pred demo/preds -b sample --out demo/results --force
	$(BIN)/refvps overlay --pred demo/preds -b sample --out demo/sheets
	@echo "Look at demo/sheets/sheet.png; the result is in demo/results/."

# Test groups, each with its time, all unless GROUPS names some; slow proofs are left to make proof.
GROUPS ?=
test: $(VENV)/test
	@$(BIN)/python tests/groups.py $(GROUPS)

proof: $(VENV)/test
	REFVPS_PROOF=1 $(PYTEST) -m "slow or not slow" tests

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/test
	$(BIN)/python tests/bench/scoring.py
	$(BIN)/python tests/bench/frames.py
	$(BIN)/python tests/bench/manifest.py

clean:
	rm -rf $(VENV) demo build dist

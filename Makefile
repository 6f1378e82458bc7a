# make help lists the targets. Settings:
#   PYTHON=python3.12    the interpreter that the environment is made with (3.11 or 3.12)
#   TORCH_INDEX=<url>    take torch and torchvision from this wheel index (see pytorch.org), for
#                        example its CPU builds, which are several GB smaller than the default

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup assets demo test test-sample test-all lint lock bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## make the virtual environment from the lock file

$(VENV)/.ready: environment/main.lock environment/create.sh environment/repair_torchvision.py pyproject.toml
	PYTHON=$(PYTHON) VENV=$(VENV) TORCH_INDEX=$(TORCH_INDEX) sh environment/create.sh
	@touch $@

assets: setup  ## fetch the sample clips and the FVD network (about 165 MB, once)
	@$(BIN)/dynamicrafter assets fetch --demo

demo: setup  ## the whole chain on real clips, ends with a table and report.html
	@$(BIN)/dynamicrafter demo

test: setup assets  ## the quick suite (at most 10 minutes)
	$(PYTEST) -m "not slow"

test-sample: setup assets  ## a small sample of the slow tests
	$(PYTEST) -m "slow and sample"

test-all: setup assets  ## everything: kills, hostile files, browser, notebooks (at most 60 minutes)
	$(PYTEST)

lint: setup  ## ruff, mypy on the numerics
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## speed of the parts, beside what this machine can do
	@$(BIN)/python -m tests.bench

lock: setup  ## resolve the lock files anew from the ranges in pyproject.toml
	$(BIN)/python environment/lock.py

clean:  ## remove the environment and the run folders
	rm -rf $(VENV) runs

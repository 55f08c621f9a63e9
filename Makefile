# Everything happens inside .venv; nothing is installed outside this folder.
# `make` alone lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Extra words for pip, pytest and the demo, for example: make test PYTEST_ARGS="-k nms"
PIP_ARGS    ?=
PYTEST_ARGS ?=
# Processes of `make test-slow`; each takes up to 5 GB of memory.
SLOW_WORKERS ?= 2
DEMO_ARGS   ?=
# What setup.py builds: auto, cpu, cuda or none (INSTALL.md). After a change: make clean setup
CENTERMASK_BUILD ?= auto
# The PyTorch that `make test-abi` loads the library into.
ABI_TORCH ?= 2.13.0
# The Python that `make test-gpu` runs in, and words for that run: GPU_ARGS="--dry-run"
GPU_PYTHON ?= $(BIN)/python
GPU_ARGS   ?=
# The Python that `make gpu-wheels` fetches packages for.
GPU_PYTHON_VERSION ?= 3.12
# The oldest PyTorch that pyproject.toml allows; `make test-lowest`.
LOWEST_TORCH ?= 2.9.1

REQUIREMENTS := $(wildcard requirements/*.txt)
CSRC         := $(shell find csrc -type f 2>/dev/null)
CXX_FILES    := $(filter %.cpp %.h %.cu %.cuh,$(CSRC))

# Stamps: requirements installed, package linked into the environment, operators built.
INSTALLED := $(VENV)/.installed
LINKED    := $(VENV)/.linked
BUILT     := $(VENV)/.built
# An environment with another PyTorch, and its stamp.
ABI           := build/torch-$(ABI_TORCH)
ABI_INSTALLED := $(ABI)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-coco test test-slow test-abi test-lowest test-cuda-compile test-sanitize \
        test-gpu gpu-wheels lint format type bench docs clean

help:
	@echo "make setup      create .venv, install the pinned packages, build the operators"
	@echo "make demo       train on bundled photos of circuit boards, find them on unseen ones (CPU is enough)"
	@echo "make demo-coco  the same on a few bundled photos of COCO, with its 80 categories"
	@echo "make test       the test suite"
	@echo "make test-slow  the tests that take longer than a few seconds"
	@echo "make test-sanitize  the operators under address and thread sanitizers"
	@echo "make test-abi   the operators' tests in another PyTorch, with the same compiled library"
	@echo "make test-lowest  the same in the oldest PyTorch, where the operators are plain PyTorch"
	@echo "make test-cuda-compile  compile the CUDA sources without a warning or a spilled register"
	@echo "make test-gpu   on a machine with a GPU: build for it, test, measure, at most 8 minutes"
	@echo "make gpu-wheels  packages to take to a machine with a GPU and without a registry"
	@echo "make lint       ruff, clang-format and codespell; changes nothing"
	@echo "make format     let ruff and clang-format lay the files out"
	@echo "make type       mypy --strict"
	@echo "make bench      time the operators on this machine"
	@echo "make docs       write the generated pages and check every link"
	@echo "make clean      remove what was built (not .venv, not output)"

setup: $(BUILT)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); 3.10 or newer is needed: make setup PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_ARGS) -r requirements/dev.txt
	@touch $@

# Links to this folder, so that edits take effect at once.
$(LINKED): $(INSTALLED) pyproject.toml
	CENTERMASK_BUILD=none $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Without a compiler this warns and leaves no stamp, so that every run warns until there is one.
$(BUILT): $(LINKED) setup.py $(CSRC)
	CENTERMASK_BUILD=$(CENTERMASK_BUILD) $(BIN)/python -W "ignore:setup.py install is deprecated" setup.py build_ext --inplace
	@if ls maskrcnn_benchmark/_C*.so >/dev/null 2>&1; then touch $@; fi

demo: setup
	$(BIN)/python tools/quickstart.py $(DEMO_ARGS)

demo-coco: setup
	$(BIN)/python tools/quickstart.py \
	  --config-file configs/quickstart/centermask_lite_M_v2_FPN_quickstart.yaml $(DEMO_ARGS)

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Each file in one process, with what its tests share; each process in one thread.
test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not gpu" \
	  -n $(SLOW_WORKERS) --dist loadfile $(PYTEST_ARGS)

# The same cases on CPU kernels and emulated CUDA kernels, with address, undefined-behaviour and
# thread sanitizers. Linux and GCC.
test-sanitize: setup
	$(BIN)/python -m tests.emu.sanitize

$(ABI_INSTALLED): requirements/abi.txt requirements/constraints.txt | $(BIN)/python
	$(BIN)/python -m venv $(ABI)
	$(ABI)/bin/python -m pip install $(PIP_ARGS) torch==$(ABI_TORCH) -r requirements/abi.txt
	@touch $@

# The library lies in this folder, built with the other PyTorch; nothing is compiled here.
test-abi: setup $(ABI_INSTALLED)
	CENTERMASK_ABI_TORCH=$(ABI_TORCH) $(ABI)/bin/python -m pytest -m "not slow and not gpu" \
	  tests/layers --ignore=tests/layers/test_build.py $(PYTEST_ARGS)

test-lowest:
	$(MAKE) test-abi ABI_TORCH=$(LOWEST_TORCH)

test-cuda-compile: setup
	$(BIN)/python csrc/check_cuda.py

# Builds what it needs itself, for that card; a GPU_PYTHON of its own is left as it is.
test-gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(LINKED))
	$(GPU_PYTHON) -m benchmarks.gpu $(GPU_ARGS)

# Beside what images with PyTorch have (NumPy, OpenCV, Pillow, Matplotlib, pytest, hypothesis).
gpu-wheels: $(LINKED)
	$(BIN)/python -m pip download $(PIP_ARGS) --no-deps --only-binary=:all: \
	  --python-version $(GPU_PYTHON_VERSION) --platform manylinux_2_28_x86_64 \
	  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
	  -d build/gpu-wheels -c requirements/runtime.txt yacs pycocotools hotcoco

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/codespell

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

type: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python -m pytest tests/contract/test_docs.py tests/docs

clean:
	rm -rf build dist *.egg-info centermask_runtime/build centermask_runtime/*.egg-info .mypy_cache .ruff_cache .pytest_cache $(LINKED) $(BUILT)
	find maskrcnn_benchmark -name '*.so' -delete
	rm -f maskrcnn_benchmark/_build.json
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

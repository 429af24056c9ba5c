# make demo      pictures in demo/
# make test      style, types and the tests that fit into minutes
# make test-all  every test
# make quality   what the toy world's pictures are worth, against fixed bounds
# Each makes .venv by itself (Python 3.11 or newer); a second start finds it ready.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# The tests' tensors are tiny: threads would only wait for each other. Two processes share the tests, and
# tests that share a ComfyUI stay together (loadgroup).
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --durations=10
READY := .venv/.ready

.PHONY: demo test test-all quality lint style types venv

demo: $(READY)
	$(BIN)/python -m tools.demo

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

quality: $(READY)
	$(BIN)/python -m cones2 evaluate gate

lint: style types

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/python -m tools.node_types

venv: $(READY)

# --no-deps: the list is complete, and the CUDA packages that some torch wheels ask for stay out.
$(READY): requirements-dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -c "import torch" || { echo "This torch needs CUDA libraries. Take the CPU build: \
	rm -r .venv && PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make $(MAKECMDGOALS)"; exit 1; }
	@touch $@

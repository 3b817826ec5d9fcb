# make demo       the whole path, from video to prediction
# make chain      pre-training on films first, against random weights
# make test       the linter and the fast tests
# make test-all   make test, then the slow tests
# Each sets up .venv first, which is `make install`.
# make test LANE=latest   the same with the newest TensorFlow, in .venv-latest

.PHONY: install demo chain test test-all lint lock

SHELL := /bin/bash
LANE :=
VENV := .venv$(LANE:%=-%)
LOCK := requirements$(LANE:%=-%).lock
# The extra `remote` is what keeps the first lane on TensorFlow 2.17.
EXTRAS := --extra test $(if $(LANE),,--extra remote)
# The model of --landmarks=mediapipe, without the OpenCV that comes with it.
MESH := mediapipe==0.10.21
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

# The first Python that TensorFlow 2.17 runs on, for LANE=latest 3.12 if it is
# there; name one with PYTHON=...
PYTHONS := $(if $(LANE),python3.12) python3 python3.12 python3.11 python3.10
ifndef PYTHON
PYTHON := $(shell for p in $(PYTHONS); do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
	2>/dev/null && echo $$p && break; done)
endif

install: $(VENV)/installed

$(VENV)/installed: $(LOCK) setup.py Makefile
	@test -n "$(PYTHON)" || { \
		echo "error: no Python 3.10, 3.11 or 3.12 found; install one, or" \
		"name it: make install PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps -e . $(MESH)
	@touch $@

demo: install
	@$(BIN)/python -m affwild_omg.demo --directory=checkpoints/demo

chain: install
	@$(BIN)/python -m affwild_omg.demo --chain --directory=checkpoints/demo

test: install lint
	@$(BIN)/python -m pytest -m "not slow"

test-all: test
	@$(BIN)/python -m pytest -m slow

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# Renews the lane's lock from setup.py; needs uv.
lock:
	uv pip compile --universal --python-version 3.10 $(EXTRAS) \
		--no-emit-index-url --no-emit-find-links --no-header \
		--upgrade --output-file $(LOCK) setup.py

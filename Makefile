# Two commands set up everything on a fresh machine:
#   make demo   an upscaled brain, its Lanczos comparison and a picture, in demo/
#   make test   lint, and the tests with a coverage figure, which fails under 90 %; those of the panel run offscreen, and are skipped with the reason
#               where Qt lacks a system library
# make check is another name for make test; make lint is lint alone.
# PYTHON names the interpreter (3.10 to 3.13); packages go into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint bench clean

demo: $(VENV)/demo.stamp
	$(BIN)/superres3d demo --out demo

test: lint
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

check: test

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .

bench: $(VENV)/test.stamp
	$(BIN)/python Testing/Benchmarks/engine_speed.py

$(VENV)/%.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) demo .coverage

# Two commands set up everything on a fresh machine:
#   make demo   an upscaled brain, its Lanczos comparison and a picture, in demo/
#   make test   lint, types, and the tests with a coverage figure, which fails under 90 %; those of the panel run offscreen, and are skipped with the
#               reason where Qt lacks a system library
# make check is another name for make test; make lint is lint and types alone.
# make test-lowest runs the engine's tests with the lowest versions that pyproject.toml allows, in .venv-lowest.
# make fuzz changes bytes in headers of every format that is read (2,000 each, in five to ten minutes); COUNT=200 for a quick look.
# make test-servers stores derived DICOM series to an Orthanc server, which it starts and stops; it needs the Debian packages orthanc and dcmtk.
# make test-containers runs the steps of Dockerfile and Apptainer.def in a clean environment, as an ordinary user on a read-only disk; as root, on Linux.
# make test-pipelines runs the examples for Snakemake, Nipype and MONAI, with their packages in .venv-pipelines.
# make study-coverage simulates 1,000 reader studies each of eight kinds and counts how often the intervals hold the truth; some minutes.
# make api writes the API reference into build/api.
# PYTHON names the interpreter (3.10 to 3.13); packages go into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lowest Python allowed, where it is there.
LOWEST_PYTHON ?= $(shell python3.10 -c 'print("python3.10")' 2>/dev/null || echo $(PYTHON))
LOWEST := .venv-lowest
PIPELINES := .venv-pipelines

.PHONY: study-coverage demo test check lint test-lowest test-servers test-containers test-pipelines fuzz api bench clean

demo: $(VENV)/demo.stamp
	$(BIN)/superres3d demo --out demo

test: lint
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

check: test

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

# Libraries warn of what was new to them: here warnings are no errors.  The API reference is built with the present ones alone.
test-lowest: $(LOWEST)/test.stamp
	$(LOWEST)/bin/python -m pytest Testing/Unit -W default --ignore Testing/Unit/test_api_reference.py

COUNT ?= 2000
fuzz: $(VENV)/test.stamp
	$(BIN)/python -m Testing.Fuzz.fuzz --count $(COUNT)
	$(BIN)/python -m Testing.Fuzz.dicom --count $(COUNT)

test-servers: $(VENV)/test.stamp
	$(BIN)/python -m pytest Testing/Servers -rs

test-containers: $(VENV)/test.stamp
	$(BIN)/python -m pytest Testing/Containers -rs

test-pipelines: $(PIPELINES)/test.stamp
	$(PIPELINES)/bin/python -m pytest Testing/Unit/test_pipelines.py -rs

api: $(VENV)/test.stamp
	$(BIN)/python docs/api.py build/api

bench: $(VENV)/test.stamp
	$(BIN)/python Testing/Benchmarks/engine_speed.py

$(VENV)/%.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[$*]'
	touch $@

# What is there already and allowed, uv leaves: PyTorch's CPU build, put in before, spares several gigabytes.
$(LOWEST)/test.stamp: pyproject.toml
	test -x $(LOWEST)/bin/python || $(LOWEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install 'uv>=0.5'
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[test]'
	touch $@

$(PIPELINES)/test.stamp: pyproject.toml
	test -x $(PIPELINES)/bin/python || $(PYTHON) -m venv $(PIPELINES)
	$(PIPELINES)/bin/python -m pip install --editable '.[test]' snakemake nipype monai
	touch $@

study-coverage: $(VENV)/test.stamp
	$(BIN)/python Testing/Benchmarks/study_coverage.py

clean:
	rm -rf $(VENV) $(LOWEST) $(PIPELINES) build/api demo .coverage .mypy_cache

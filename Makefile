# make demo   install vidmem into .venv, ingest a sample video, ask about it, compare with the truth
# make test   install the test extras, and what the benchmarks compare with; run the tests
# make check  lint, format, types, the arrows between the rooms
#
# PYTHON names the interpreter that the environment is made from; ARGS goes to `vidmem demo` or pytest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without compiling ahead: most of what is installed is never imported.
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := --no-compile --constraint constraints.txt

.PHONY: demo test check format clean

demo: $(VENV)/.stamp-run
	$(BIN)/vidmem demo $(ARGS)

test: $(VENV)/.stamp-test
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.stamp-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find vidmem tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last, so that an install which was cut off is done again and one which stands is not.

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vidmem needs Python 3.11 or newer, and $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# sam2 comes as source and asks for torch at build time. Built by itself it would fetch a second torch of several
# gigabytes only to throw it away; with torch in place and without isolation it takes that one. Its CUDA kernel is
# optional (mask clean-up) and left out, so that the same package comes out on every machine.
$(VENV)/.stamp-run: pyproject.toml constraints.txt | $(VENV)/.stamp-venv
	$(PIP) install $(PINS) setuptools numpy torch torchvision
	SAM2_BUILD_CUDA=0 $(PIP) install $(PINS) --no-build-isolation sam2
	$(PIP) install $(PINS) --editable .
	touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-run
	$(PIP) install $(PINS) --editable ".[test,bench]"
	touch $@

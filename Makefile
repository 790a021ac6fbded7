# make demo   install vidmem into .venv, ingest a sample video, ask about it, compare with the truth
# make test   install the test extras, and what the benchmarks compare with; run the tests
# make test-ui the tests of the web page alone, with screenshots of its screens in build/screens
# make check  lint, format, types, the arrows between the rooms
#
# PYTHON names the interpreter that the environment is made from; ARGS goes to `vidmem demo` or pytest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without compiling ahead: most of what is installed is never imported.
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := --no-compile --constraint constraints.txt
# The accessibility check of the page; where npm is not, or reaches nothing, its tests skip and say so.
AXE_VERSION := 4.10.3
AXE := $(VENV)/axe-$(AXE_VERSION).min.js
SEEN = VIDMEM_SCREENSHOTS=$(CURDIR)/build/screens VIDMEM_AXE=$$(test -s $(AXE) && echo $(CURDIR)/$(AXE))

.PHONY: demo test test-ui check format clean

demo: $(VENV)/.stamp-run
	$(BIN)/vidmem demo $(ARGS)

test: $(VENV)/.stamp-test $(AXE)
	$(SEEN) $(BIN)/python -m pytest $(ARGS)

test-ui: $(VENV)/.stamp-test $(AXE)
	$(SEEN) $(BIN)/python -m pytest tests/ui $(ARGS)

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

# An empty file where it can't be had, so that a run without a network does not wait for it each time.
$(AXE): | $(VENV)/.stamp-venv
	@mkdir -p build/axe && cd build/axe && \
	  { npm pack --silent axe-core@$(AXE_VERSION) >/dev/null && tar -xzf axe-core-$(AXE_VERSION).tgz; } || \
	  echo "NO AXE: npm is not here or reaches nothing, so the ACCESSIBILITY of the page is NOT CHECKED" >&2
	@cp build/axe/package/axe.min.js $@ 2>/dev/null || : > $@

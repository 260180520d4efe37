# Two commands do everything: `make demo` and `make test`. Both set themselves up first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test lint bench soak clean

help:
	@echo "make setup   install exdiff into $(VENV)"
	@echo "make demo    enhance examples/recordings and draw a before/after picture"
	@echo "make test    run the tests"
	@echo "make lint    check style and types"
	@echo "make bench   real-time factor and memory of a ten-minute recording"
	@echo "make soak    the slow tests"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@echo "Setting up $(VENV); the first time this downloads PyTorch, which takes a few minutes."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "exdiff needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# PESQ is compiled from source; where there is no C compiler its tests are skipped and the rest still run.
$(VENV)/.developing: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[eval]" || \
		echo "The extra 'eval' could not be installed (it needs a C compiler): tests of PESQ and ESTOI are skipped."
	@touch $@

demo: setup
	$(BIN)/exdiff enhance examples/recordings
	$(BIN)/exdiff picture examples/recordings/street/p232_021.wav \
		examples/recordings-enhanced/street/p232_021.wav -o examples/recordings-enhanced/before-after.png
	@echo "Listen to examples/recordings-enhanced; beside each recording lies its .quality.json."

test: $(VENV)/.developing
	$(BIN)/python -m pytest -q

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/exdiff bench --seconds 600

soak: $(VENV)/.developing
	$(BIN)/python -m pytest -q -m soak

clean:
	rm -rf $(VENV) build dist *.egg-info examples/recordings-enhanced

# Two commands: `make demo` and `make test`. Each is whole on a machine with Python 3.11+, pip and make.
PYTHON ?= python3
BIN := .venv/bin
STAMPS := .make

.PHONY: demo test lint wheel-test clean

demo: $(STAMPS)/demo
	$(BIN)/inferometer demo $(ARGS)

test: lint wheel-test
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The wheel is tested with the checkout out of the way: a flat layout would otherwise test itself.
wheel-test: $(STAMPS)/dev
	$(BIN)/python tests/wheel.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Inferometer needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(STAMPS)/demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: pyproject.toml tests/install_tools.sh $(STAMPS)/demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	sh tests/install_tools.sh
	@mkdir -p $(STAMPS) && touch $@

clean:
	rm -rf .venv $(STAMPS) dist build

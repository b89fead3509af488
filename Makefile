# make demo, make test and make docs each set up all they need, on a fresh machine too.
# A second run finds the installation in place; it is renewed when pyproject.toml or
# constraints.txt change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETTINGS := pyproject.toml constraints.txt

.PHONY: help demo test mypy docs pytest clean

help:
	@echo "make demo    run the whole way on simulated drill cores, about a minute"
	@echo "make test    check style, types, layers and documents, then run all tests"
	@echo "make docs    build the documentation into docs/_build/html"
	@echo "make clean   remove the installation and everything that was built"

demo: $(VENV)/ready
	$(BIN)/variolite demo

# One thread for each process: with more, small networks wait for each other.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(MAKE) --jobs mypy docs pytest

mypy docs pytest: $(VENV)/ready-for-tests

mypy:
	$(BIN)/mypy

docs:
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

# Neighbouring tests stay in one process, which makes what they share once.
pytest:
	$(BIN)/pytest -n 2 --dist worksteal

clean:
	rm -rf $(VENV) docs/_build dist build .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache

$(VENV)/ready: $(SETTINGS)
	@.ci/install "$(PYTHON)" "$(VENV)" .
	@touch $@

# What the tests need contains what a run needs.
$(VENV)/ready-for-tests: $(SETTINGS)
	@.ci/install "$(PYTHON)" "$(VENV)" '.[dev]'
	@touch $(VENV)/ready $@

# Four commands: `make demo` runs the example sweep on this machine, `make test` runs every test, and `make versions`
# tests every minor release of Snakemake that harbor supports. Everything lands in .venv and .venv-versions; nothing else on
# the machine changes, but `make test` and `make versions` install Debian packages if they may (tests/need_sshd).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test versions conformance clean

demo: $(VENV)/demo-ready
	@rm -rf $(DEMO)
	$(BIN)/harbor init $(DEMO) --example
	cd $(DEMO) && PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --profile profiles/local
	@cd $(DEMO) && $(CURDIR)/$(BIN)/harbor status
	@$(BIN)/python workflow/scripts/show_table.py $(DEMO)/results/mat_mul/results.csv
	@echo "table: $(DEMO)/results/mat_mul/results.csv"
	@echo "plot:  $(DEMO)/results/mat_mul/plot.svg"

test: $(VENV)/test-ready
	@tests/need_sshd
	$(BIN)/python -m pytest -n 8 --dist worksteal

versions:
	@tests/need_sshd
	PYTHON="$(PYTHON)" tests/versions

# SNAKEMAKE is a checkout of Snakemake. Its tests run with harbor in the place of the local executor.
conformance: $(VENV)/test-ready
	$(BIN)/pip install --quiet --editable '.[conformance]'
	$(BIN)/python -m tests.conformance "$(SNAKEMAKE)" --table docs/conformance.md

clean:
	rm -rf $(VENV) .venv-versions $(DEMO)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "harbor needs Python 3.11 or newer on this machine; type: make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo-ready: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/test-ready: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo,test]'
	@touch $@

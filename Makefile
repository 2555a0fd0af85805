# make demo, make test: each makes .venv and installs what it needs, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long check docs clean

demo: .venv/installed
	$(BIN)/carousel reproduce sunspots --out runs/demo --restart
	$(BIN)/carousel reproduce ntm2014/copy --rows ntm-lstm-best --seeds 2 --budget 14000 --out runs/demo --restart

# Two workers of one thread each: more threads than cores wait for one another.
test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m "not long"

test-long: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m long

check: .venv/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/installed-docs
	$(BIN)/sphinx-build -q -W docs build/docs

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/installed-%: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build dist runs

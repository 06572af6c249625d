# `make demo` and `make test` are all that a fresh clone needs; each installs what it lacks.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test clean

demo: $(VENV)/installed
	$(VENV)/bin/kr run digits -o runs/digits --preset demo \
		--shadows 8 --workers 2 --reuse-choices --canaries 60
	$(VENV)/bin/kr run digits -o runs/digits-private --epsilon 3

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n 2 --dist loadgroup --no-loadscope-reorder

# torch first, so that nothing that depends on it chooses another build.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) runs

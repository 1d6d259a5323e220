# `make demo` and `make test` need Python 3.10+ and nothing else; see CONTRIBUTING.md.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# A test that hangs fails, and says where; see pytest-timeout.
export PYTEST_TIMEOUT ?= 600
# Interpreters that pyenv keeps, which are not on PATH by name.
PYENV := $(subst $() ,,$(patsubst %,%:,$(wildcard $(HOME)/.pyenv/versions/3.1[0-9]*/bin)))

.PHONY: demo test check check-rest soak trial trial-flow bench bench-flow bench-steps bench-views bench-scores bench-flower bench-memory bench-batch matrix check-links format clean \
        check-format check-lint check-floors check-types check-docs check-wheel check-kills kill-table

# -- what a newcomer runs -----------------------------------------------------------

demo: $(VENV)/.demo
	$(BIN)/python -m examples.shop.demo $(ARGS)

test: $(VENV)/.test
	$(PYTEST) -m "not matrix" --numprocesses 2 --dist loadfile $(ARGS)

# -- what CI runs -------------------------------------------------------------------

check: test check-rest

check-rest: check-format check-lint check-floors check-types check-docs check-wheel

check-format: $(VENV)/.check
	$(BIN)/ruff format --check .

check-lint: $(VENV)/.check
	$(BIN)/ruff check .

check-floors: $(VENV)/.check
	$(BIN)/lint-imports

check-types: $(VENV)/.check
	$(BIN)/mypy
	$(BIN)/pyright

# Afresh: a page that has not changed would lose its search words.
check-docs: $(VENV)/.check
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --nitpicky -q docs docs/_build/html
	$(PYTEST) -q tests/docs/test_site.py

check-wheel: $(VENV)/.check
	$(BIN)/python -m tests.wheel

# The rest of the kill matrix, and the slow outages.
check-kills: $(VENV)/.test
	$(PYTEST) -m matrix

# -- what a developer runs now and then ---------------------------------------------

soak: $(VENV)/.test
	$(BIN)/python -m tests.worker.soak $(ARGS)

trial: $(VENV)/.test
	$(BIN)/python -m tests.worker.trial $(ARGS)

trial-flow: $(VENV)/.test
	$(BIN)/python -m tests.worker.flow $(ARGS)

# With ARGS, those of the first bench, it is that one alone.
bench: $(VENV)/.test
	$(BIN)/python -m tests.bench $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m tests.bench.flow)
	$(if $(ARGS),,$(BIN)/python -m tests.bench.batch)

bench-steps: $(VENV)/.test
	$(BIN)/python -m tests.bench.steps $(ARGS)

bench-views: $(VENV)/.test
	$(BIN)/python -m tests.bench.views $(ARGS)

bench-scores: $(VENV)/.test
	$(BIN)/python -m tests.bench.scores $(ARGS)

bench-flow: $(VENV)/.test
	$(BIN)/python -m tests.bench.flow $(ARGS)

bench-batch: $(VENV)/.test
	$(BIN)/python -m tests.bench.batch $(ARGS)

bench-flower: $(VENV)/.test
	$(BIN)/python -m tests.bench.flower

bench-memory: $(VENV)/.test
	$(BIN)/python -m tests.bench.memory $(ARGS)

kill-table: $(VENV)/.test
	DEFER_KILL_TABLE=1 $(PYTEST) tests/worker/kills

# Ask the links to the outside, which needs the network.
check-links: $(VENV)/.check
	$(BIN)/sphinx-build -b linkcheck -q docs docs/_build/links

matrix: $(VENV)/.check
	PATH="$(PYENV)$$PATH" $(BIN)/tox run $(ARGS)

format: $(VENV)/.check
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .tox .pytest_cache .mypy_cache .ruff_cache .hypothesis docs/_build build dist

# -- environments: one, that grows with what is asked of it --------------------------

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "celery_defer needs Python 3.10 or newer; say which with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable . --group demo
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/pip install --quiet --disable-pip-version-check --group test
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --group check
	@touch $@

# Everything a machine with git, make and python3 (3.11 or newer) needs. Each target may be called again at any time.
#   make setup   installs what is missing        make demo    a whole farm before your eyes
#   make test    the whole test suite            make check   lint, types and the fast tests, under a minute
#   make bench   figures of this machine

VENV := .venv
BIN := $(VENV)/bin
FAST := not slow and not octoprint and not slicer

unexport PYTHONDONTWRITEBYTECODE  # every process would compile all of farmd again, which costs more than its work

.PHONY: setup setup-system setup-test demo test test-stripe-live check check-code check-tests bench
.DEFAULT_GOAL := setup

setup: $(VENV)/.synced

setup-system:
	@.ci/system-packages

$(VENV)/.synced: pyproject.toml uv.lock .ci/python-environment | setup-system
	@.ci/python-environment $(VENV)
	@touch $@

setup-test: setup
	@.ci/octoprint-environment
	@.ci/printrun-environment
	@.ci/schemathesis-environment
	@.ci/bambu-clients-environment
	@.ci/vsftpd

demo: setup
	@$(BIN)/farmd demo

test: setup-test
	@$(BIN)/pytest -n 3 --dist loadgroup --no-loadscope-reorder

test-stripe-live: setup
	@test -n "$$STRIPE_TEST_KEY" || { echo "make test-stripe-live: set STRIPE_TEST_KEY to a key of test mode (sk_test_ or rk_test_)" >&2; exit 1; }
	@$(BIN)/pytest -m stripe_live tests/contract/test_stripe_double.py

check: setup
	@$(MAKE) --no-print-directory -j 2 -O check-code check-tests

check-code:
	@$(BIN)/uv lock --check --offline --quiet || { echo "make check: uv.lock is not that of pyproject.toml; run $(BIN)/uv lock" >&2; exit 1; }
	@$(BIN)/ruff format --check --quiet . || { echo "make check: run $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check-tests:
	@$(BIN)/pytest -q -n 2 --dist loadfile tests/unit tests/packaging -m "$(FAST)"

bench: setup
	@for script in tests/bench/bench_*.py tests/bench/serial/bench_*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python "$$script" || exit 1; done

# `make demo` and `make test` set up all they need on a machine with Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PURE = $(shell $(BIN)/python tests/pure_modules.py)

.PHONY: help demo test soak fuzz bench bench-profile check format test-uvloop test-apiserver test-jaeger e2e kind requirements schema clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(VENV)/.run  ## the main job in front of your eyes: three upstreams, one sidecar, one trace
	@$(BIN)/sidecar demo $(if $(ONCE),--once)

test: $(VENV)/.test  ## every test this machine can run, with coverage; names what it left out
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 --dist loadfile -q -m "not soak and not apiserver and not jaeger and not e2e"
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=100 --include="$(PURE)"
	@$(BIN)/coverage report --fail-under=90

soak: $(VENV)/.test  ## the long and heavy tests: large bodies, many clients, many requests; prints their figures
	@$(BIN)/pytest -m "soak and not apiserver" -s

fuzz: $(VENV)/.test requirements/fuzz.txt  ## coverage-guided fuzzing of all that reads peers' bytes (SECONDS=3600)
	@$(PIP) install --require-hashes -r requirements/fuzz.txt
	@$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60)

check: $(VENV)/.check  ## format, lint, types, layers
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.check  ## write the format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

test-uvloop: $(VENV)/.test  ## the tests of the data path on uvloop, as the image runs it
	@LOOP=uvloop $(BIN)/pytest -q -m "not soak and not jaeger and not browser" tests/shell/test_data_path_*.py tests/shell/test_forward_mode.py tests/shell/test_upstream_tls.py

test-apiserver: $(VENV)/.test  ## tests against a real kube-apiserver (KUBEBUILDER_ASSETS: etcd, kube-apiserver, kubectl)
	@$(BIN)/pytest -m "apiserver" -s tests/apiserver

test-jaeger: $(VENV)/.test  ## a trace read back from a real Jaeger (JAEGER: the command that runs it)
	@$(BIN)/pytest -m "jaeger" -s tests

e2e: $(VENV)/.test  ## a pod's life on a real cluster that may be changed (KUBECONFIG, kubectl, helm; E2E_IMAGE, E2E_DISTURB)
	@SIDECAR_E2E=1 $(BIN)/pytest -m e2e -s tests/e2e

bench: $(BENCH)/.ready  ## side by side with nginx, Envoy, Caddy and aiohttp: tables and a picture (QUICK=1: under three minutes)
	@$(BENCH)/bin/python -m bench $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-profile: $(BENCH)/.ready  ## where a request's time goes, by room
	@$(BENCH)/bin/python -m bench.profile

kind:  ## with Docker: cluster, image, chart, sample app, one traced request
	@deploy/kind/up.sh

requirements: $(VENV)/.check  ## make the pinned requirement files from pyproject.toml
	@$(BIN)/python requirements/compile.py

schema: $(VENV)/.run  ## make the schemas of docs and chart from the configuration model
	@$(BIN)/python -m sidecar.config.schema > docs/config.schema.json
	@$(BIN)/python -m deploy.helm.schema

clean:  ## remove the virtual environment and all caches
	@rm -rf $(VENV) $(BENCH) .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.13 ...")'
	@echo "making $(VENV)"; $(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing what the sidecar needs"; $(PIP) install --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable . && touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	@echo "installing what the tests need"; $(PIP) install --require-hashes -r requirements/test.txt && touch $@

$(VENV)/.check: requirements/check.txt $(VENV)/.test
	@echo "installing what the checks need"; $(PIP) install --require-hashes -r requirements/check.txt && touch $@

$(BENCH)/.ready: requirements/bench.txt requirements/build.txt pyproject.toml
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || bench/install-nginx
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.13 ...")'
	@test -x $(BENCH)/bin/python || { echo "making $(BENCH)"; $(PYTHON) -m venv $(BENCH); }
	@echo "installing the peers"; $(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/bench.txt -r requirements/build.txt
	@$(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --editable . && touch $@

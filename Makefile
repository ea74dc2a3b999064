# Every target sets up what it needs in .venv, with the versions of constraints.txt.

PYTHON ?= python3
# Keras backends beside TensorFlow that `make test` covers; PyTorch is a large download: BACKENDS=jax leaves it out.
BACKENDS ?= jax,torch
VENV := .venv
NODE_MODULES := tflite/web/node_modules
NPM := $(shell command -v npm)
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: quickstart test test-fast test-slow check docs web no-npm clean

quickstart: $(VENV)/.installed-tflite  ## Trains, folds, converts and runs a small network; five minutes.
	$(BIN)/python -m tflite.quickstart --run-dir runs/quickstart

test: $(VENV)/.installed-test $(if $(NPM),$(NODE_MODULES)/.package-lock.json,no-npm)  ## Runs the tests.
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-fast: $(VENV)/.installed-test  ## Runs the tests of the inner loop.
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not long"

test-slow: $(VENV)/.installed-test  ## Runs the tests that take minutes.
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-test $(VENV)/.installed-check $(if $(NPM),$(NODE_MODULES)/eslint,no-npm)  ## Runs linters, formatter and type checker.
	$(if $(NPM),,SKIP=eslint )$(BIN)/pre-commit run --all-files $(if $(CI),--show-diff-on-failure)

docs: $(VENV)/.installed-docs  ## Builds the site of these pages in site/, without a network.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

web: $(NODE_MODULES)/.package-lock.json  ## Serves the page that classifies pictures in the browser.
	$(PYTHON) -m http.server 8000 --bind 127.0.0.1 --directory tflite/web

$(NODE_MODULES)/.package-lock.json: tflite/web/package-lock.json
	npm ci --prefix tflite/web --omit=dev --no-fund --no-audit
	@touch $@

$(NODE_MODULES)/eslint: $(NODE_MODULES)/.package-lock.json
	npm ci --prefix tflite/web --no-fund --no-audit
	@touch $@

no-npm:
	@echo "npm is not installed: the web page's tests and its linter are left out"

clean:
	rm -rf $(VENV) $(NODE_MODULES)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("error: sb_keras needs Python 3.11 to 3.13; %s is %d.%d. Name another one: make PYTHON=python3.12 ..." % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-tflite: $(BIN)/python setup.py constraints.txt
	@echo "installing into $(VENV) (a few minutes the first time)"
	$(PIP_INSTALL) -e '.[compression]'
	$(PIP_INSTALL) --no-deps tensorflow-model-optimization
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed-tflite
	$(PIP_INSTALL) -e '.[compression,test,export-test,$(BACKENDS)]'
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed-tflite
	$(PIP_INSTALL) -e '.[check,docs]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-tflite
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

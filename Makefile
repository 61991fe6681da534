# SPDX-License-Identifier: Apache-2.0
# Everything is done through this file; `make help` lists it. Needs Python 3.11 or later, GNU make and a package index.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first that runs and is new enough; the version that the constraints were made for comes first.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$python; exit; fi; done; echo python3)
AIRFLOW_NEW := 3.3.2
AIRFLOW_OLD := 2.11.2
UV_VERSION := 0.13.9
SECONDS_EACH ?= 300
PATIENCE ?= 600
SUITE ?= rsa
# make wheelhouse: for which Airflow, with which extras of the package.
AIRFLOW ?= $(AIRFLOW_NEW)
EXTRAS ?= parquet,pkcs11,shangmi,simulator
UV := .venv-uv/bin/uv
BIN := .venv/bin
BIN_OLD := .venv-$(AIRFLOW_OLD)/bin
# uv does not read pip's configuration: what was set for pip alone, in its environment or its files, is passed on.
define USE_PIP_SETTINGS
settings=$$(.venv-uv/bin/pip config list)
setting() {
	local section
	for section in :env: install global; do
		sed -nE "s/^$$section\.$$1='(.*)'$$/\1/p" <<< "$$settings"
	done | sed -n '1{s/\\n/ /g;s/^ *//;p}'
}
pass_on() { if [ -n "$$2" ] && [ -z "$${!1:-}" ]; then export "$$1=$$2"; fi; }
pass_on UV_DEFAULT_INDEX "$${UV_INDEX_URL:-$$(setting index-url)}"
pass_on UV_INDEX "$${UV_EXTRA_INDEX_URL:-$$(setting extra-index-url)}"
pass_on UV_FIND_LINKS "$$(setting find-links | sed -E 's/ +/,/g')"
pass_on SSL_CERT_FILE "$$(setting cert)"
# As pip does: the best version of all indexes, not the first index that has any.
pass_on UV_INDEX_STRATEGY "$${UV_INDEX:+unsafe-best-match}"
endef

.PHONY: help install demo ui test-ui test check lint bench scale faults crash outage campaigns fuzz docs build wheelhouse test-matrix clean constraints

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: .venv/.made ## Make the environment .venv with Airflow 3.3.2 and this package

demo: .venv/.made ## Export 20,000 generated users and import them into the simulator; SUITE=sm2 in national cryptography
	@SUITE="$(SUITE)" exec $(BIN)/python -m tools.demo

ui: .venv/.made ## Run an Airflow to look at, with imports in every state, until Ctrl-C; PATIENCE=n waits n seconds for each
	@WXBANK_PATIENCE="$(PATIENCE)" exec $(BIN)/python -m tools.ui

test-ui: .venv-ui/.made ## Test the pages in a browser, and take screenshots into build/screenshots
	@exec .venv-ui/bin/python -m pytest -q tests/browser $(PYTEST)

test: .venv/.made .venv-$(AIRFLOW_OLD)/.made ## Run the tests on Airflow 3.3.2 and 2.11.2, and print the coverage
	@exec $(BIN)/python -m tools.test $(BIN)/python $(BIN_OLD)/python

lint: .venv/.made ## Check style and types
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: .venv/.made ## Check style, types, and the layers that know nothing of Airflow: the first signal, in under a minute
	@exec $(BIN)/python -m tools.check

bench: .venv-bench/.made ## Measure speed and memory as ratios, and draw the charts of the documentation
	@exec .venv-bench/bin/python -m tests.benchmarks.run $(BENCH)

scale: .venv-scale/.made ## Import a million users on a cluster of real engines while a worker is killed
	@exec .venv-scale/bin/python -m tests.stress.scale $(SCALE)

faults: .venv/.made ## Meet every fault at every step, and count what was lost, doubled or told; SUITE=sm2 in national cryptography
	@exec $(BIN)/python -m tests.stress.faults --suite $(SUITE)

crash: .venv/.made ## Kill uploads, exports and the triggerer in a real Airflow, and count what was lost or doubled
	@exec $(BIN)/python -m tests.stress.crash

outage: .venv/.made .venv-$(AIRFLOW_OLD)/.made ## Let WeChat Pay hang while real triggerers have many waits, and one of somebody else
	@$(BIN)/python -m tests.stress.outage
	exec $(BIN_OLD)/python -m tests.stress.outage

campaigns: .venv/.made ## Let imports run the campaign's DAG in a real Airflow while the triggerer is killed
	@exec $(BIN)/python -m tests.stress.campaigns

fuzz: .venv-fuzz/.made ## Fuzz whatever reads bytes from outside, 5 minutes a target; SECONDS_EACH=n changes that
	@exec .venv-fuzz/bin/python -m tests.stress.fuzz --seconds $(SECONDS_EACH)

docs: .venv/.made ## Build the documentation into docs/_build
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	echo "docs/_build/html/index.html"

build: .venv-release/.made ## Build wheel, sdist and bill of materials into dist, and check them
	@$(USE_PIP_SETTINGS)
	export UV="$(CURDIR)/$(UV)"
	exec .venv-release/bin/python -m tools.release

wheelhouse: .venv-release/.made ## Gather all that installs the package into an Airflow without an index; AIRFLOW=, PYTHON=, EXTRAS=, ALSO=, CONSTRAINTS=
	@$(USE_PIP_SETTINGS)
	export UV="$(CURDIR)/$(UV)"
	exec .venv-release/bin/python -m tools.wheelhouse --airflow="$(AIRFLOW)" --python="$(PYTHON)" \
		--extras="$(EXTRAS)" --also="$(ALSO)" --constraints="$(CONSTRAINTS)"

test-matrix: .venv-release/.made ## Run the sample DAG in both suites and the page from the wheel on every Airflow and Python, and the tests on the oldest
	@$(USE_PIP_SETTINGS)
	export UV="$(CURDIR)/$(UV)"
	exec .venv-release/bin/python -m tools.matrix $(MATRIX)

clean: ## Remove the environments and everything that was built
	@rm -rf .venv .venv-* .demo .matrix .ui build dist docs/_build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(UV) ## Choose the versions of all dependencies anew
	@$(USE_PIP_SETTINGS)
	for version in $(AIRFLOW_NEW) $(AIRFLOW_OLD); do
		groups="--group test"
		if [ $$version = $(AIRFLOW_NEW) ]; then groups="--group test --group lint --group docs --group fuzz --group bench --group scale --group release --group ui"; fi
		{
			echo "# Versions that are tested with Airflow $$version on Python 3.11; made by: make constraints"
			echo "apache-airflow==$$version" | $(UV) pip compile -q --python-version 3.11 --no-header --no-annotate \
				--no-emit-index-url --no-emit-find-links --extra simulator $$groups pyproject.toml -
		} > constraints/new.txt
		mv constraints/new.txt constraints/airflow-$$version.txt
	done

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.venv/.made: pyproject.toml constraints/airflow-$(AIRFLOW_NEW).txt | $(UV)
	@echo "Making .venv with Airflow $(AIRFLOW_NEW) ..."
	$(USE_PIP_SETTINGS)
	$(UV) venv -q --clear -p $(PYTHON) .venv
	$(UV) pip install -q -p $(BIN)/python -c constraints/airflow-$(AIRFLOW_NEW).txt \
		-e '.[simulator]' --group test --group lint --group docs
	touch $@

.venv-$(AIRFLOW_OLD)/.made: pyproject.toml constraints/airflow-$(AIRFLOW_OLD).txt | $(UV)
	@echo "Making .venv-$(AIRFLOW_OLD) with Airflow $(AIRFLOW_OLD) ..."
	$(USE_PIP_SETTINGS)
	$(UV) venv -q --clear -p $(PYTHON) .venv-$(AIRFLOW_OLD)
	$(UV) pip install -q -p $(BIN_OLD)/python -c constraints/airflow-$(AIRFLOW_OLD).txt \
		-e '.[simulator]' --group test
	touch $@

# Environments of their own, .venv-NAME, for what needs more than the tests do; each with what its line says.
.venv-bench/.made: WITH = -e '.[simulator,parquet]' --group bench
.venv-scale/.made: WITH = -e '.[simulator]' --group scale
.venv-ui/.made: WITH = -e '.[simulator]' --group ui
.venv-fuzz/.made: WITH = -e . --group test --group fuzz
.venv-release/.made: WITH = --group release

$(patsubst %,.venv-%/.made,bench scale ui fuzz release): .venv-%/.made: pyproject.toml constraints/airflow-$(AIRFLOW_NEW).txt | $(UV)
	@echo "Making .venv-$* ..."
	$(USE_PIP_SETTINGS)
	$(UV) venv -q --clear -p $(PYTHON) .venv-$*
	$(UV) pip install -q -p .venv-$*/bin/python -c constraints/airflow-$(AIRFLOW_NEW).txt $(WITH)
	touch $@

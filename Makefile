# On a new machine, start with `make demo` or `make test`. Both create the virtual environment.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
USABLE := $(VENV)/.usable
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

SIDE_BY_SIDE := --numprocesses 2 --dist loadfile
DRIVEN       := tests/integration tests/deploy tests/bench

# Go programs that the tests of deploy/ run, built from source: Helm, and the Docker Compose loader.
TOOLS   := .tools
HELM    := helm.sh/helm/v3/cmd/helm@v3.19.0
COMPOSE := github.com/compose-spec/compose-go/v2/cmd@v2.9.1

# Everything that is shipped, with the hash of every file: locked, audited and listed by separate tools.
SUPPLY  := $(TOOLS)/supply
IMAGE   := $(TOOLS)/image
LOCK    := $(SUPPLY)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-emit-find-links --constraint constraints.txt
HASHED  := -m pip --disable-pip-version-check

# The lowest version of every dependency that pyproject.toml allows.
LOWEST  := $(TOOLS)/lowest

MINUTES ?= 5

.PHONY: help demo test lint format types unit faults fuzz soak docs rules chart lock audit sbom lowest tools golden bench clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(USABLE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dify-exporter needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(READY): $(USABLE)
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(USABLE) ## Run an embedded Dify and an exporter for it, at http://127.0.0.1:9439
	@$(BIN)/dify-exporter demo

test: lint types unit ## Run all checks: style, types, tests, coverage

lint: $(READY) ## Run ruff and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

format: $(READY) ## Format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## Run mypy in strict mode
	$(BIN)/mypy

# Tests that drive real processes in real time run without coverage, and the fault tests run alone, because a busy machine
# would look like a fault.
unit: $(READY) ## Run pytest with branch coverage, then with real processes
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) $(addprefix --ignore=,$(DRIVEN) tests/faults)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile $(DRIVEN)
	$(BIN)/python -m pytest tests/faults

faults: $(READY) ## Run the whole fault matrix of docs/reliability.md, including slow rows
	$(BIN)/python -m pytest -m 'slow or not slow' tests/faults

fuzz: $(READY) ## Feed a million unusual inputs to every reader of external input
	$(BIN)/python -m bench.fuzz

soak: $(READY) ## Run the real process beside two servers through every event and fault for 5 minutes; MINUTES=60 for longer
	$(BIN)/python -m bench.soak --minutes $(MINUTES)

docs: $(READY) ## Regenerate pages and dashboards
	$(BIN)/python -m tools.write_docs
	$(BIN)/python -m deploy.grafana

rules: $(READY) ## Record the input of the rule tests again, from an exporter on the simulator
	$(BIN)/python -m tests.deploy.record

chart: $(READY) ## Regenerate the chart's copies of rules and dashboards and its table of values
	$(BIN)/python -m deploy.kubernetes.chart

$(SUPPLY)/.ready: requirements/tools.txt
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python $(HASHED) install --quiet --require-hashes --requirement $<
	@touch $@

lock: export UV_CUSTOM_COMPILE_COMMAND := make lock
lock: $(SUPPLY)/.ready ## Regenerate the hashed lists in requirements/ after a change of pyproject.toml or constraints.txt
	$(LOCK) pyproject.toml --output-file requirements/image.txt
	$(LOCK) requirements/build.in --output-file requirements/build.txt
	$(LOCK) requirements/tools.in --output-file requirements/tools.txt

audit: $(SUPPLY)/.ready ## Check all shipped packages and build tools for known vulnerabilities; requires the network
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/image.txt
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/build.txt
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/tools.txt

sbom: $(SUPPLY)/.ready ## Write dist/sbom.cdx.json: the packages of the image, in CycloneDX format
	$(PYTHON) -m venv --clear --without-pip $(IMAGE)
	$(SUPPLY)/bin/python $(HASHED) --python $(IMAGE)/bin/python install --quiet \
		--require-hashes --requirement requirements/image.txt
	@mkdir -p dist
	$(SUPPLY)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-format JSON --output-file dist/sbom.cdx.json $(IMAGE)/bin/python

lowest: $(READY) ## Install the lowest allowed version of every dependency and start the program with them; requires the network
	$(BIN)/python -m tools.lowest_versions $(LOWEST)
	DIFY_API_KEY=dataset-x $(LOWEST)/bin/python -m exporter check --offline --config.file config.example.yaml
	EXPORTER_PYTHON=$(abspath $(LOWEST))/bin/python $(BIN)/python -m pytest -q \
		tests/integration/test_check.py tests/integration/test_run.py tests/integration/test_web_security.py \
		--deselect tests/integration/test_web_security.py::test_slow_clients

tools: $(TOOLS)/helm $(TOOLS)/compose ## Build Helm and the Docker Compose loader with Go; takes minutes the first time

$(TOOLS)/helm: Makefile
	GOBIN=$(abspath $(TOOLS)) go install -ldflags='-s -w' $(HELM)
	@touch $@

$(TOOLS)/compose: Makefile
	GOBIN=$(abspath $(TOOLS)) go install -ldflags='-s -w' $(COMPOSE)
	mv $(TOOLS)/cmd $@

golden: $(READY) ## Regenerate the golden pages of the tests after an intended change
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/golden

bench: $(READY) ## Run the benchmarks of the README; both sides of each ratio in the same run
	$(BIN)/python -m bench.run

clean: ## Remove everything that make created
	rm -rf $(VENV) $(TOOLS) dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

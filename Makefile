# Two commands matter on a fresh machine: `make demo` and `make test`. Each makes the virtual environment itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
USABLE := $(VENV)/.usable
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Programs in Go that the tests of deploy/ drive, built from source: Helm, and the loader of Docker Compose.
TOOLS   := .tools
HELM    := helm.sh/helm/v3/cmd/helm@v3.19.0
COMPOSE := github.com/compose-spec/compose-go/v2/cmd@v2.9.1

.PHONY: help demo test lint format types unit docs rules chart tools golden bench clean

help: ## What can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(USABLE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dify-exporter needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(READY): $(USABLE)
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(USABLE) ## An embedded Dify and the exporter on it, at http://127.0.0.1:9439
	@$(BIN)/dify-exporter demo

test: lint types unit ## Everything that has to hold: style, types, tests, coverage

lint: $(READY) ## ruff and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

format: $(READY) ## Let ruff set the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

unit: $(READY) ## pytest with branch coverage
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses 4 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

docs: $(READY) ## Write the generated pages and dashboards anew
	$(BIN)/python -m exporter.metrics.docs
	$(BIN)/python -m exporter.config.docs
	$(BIN)/python -m exporter.web.docs
	$(BIN)/python -m deploy.grafana

rules: $(READY) ## Record the input of the rule tests anew, from the exporter on the simulator
	$(BIN)/python -m tests.deploy.record

chart: $(READY) ## Write the chart's copies of rules and dashboards and its table of values anew
	$(BIN)/python -m deploy.kubernetes.chart

tools: $(TOOLS)/helm $(TOOLS)/compose ## Build Helm and the loader of Docker Compose, with Go; minutes the first time

$(TOOLS)/helm: Makefile
	GOBIN=$(abspath $(TOOLS)) go install -ldflags='-s -w' $(HELM)
	@touch $@

$(TOOLS)/compose: Makefile
	GOBIN=$(abspath $(TOOLS)) go install -ldflags='-s -w' $(COMPOSE)
	mv $(TOOLS)/cmd $@

golden: $(READY) ## Write the expected pages of the tests anew, after a wanted change
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/golden

bench: $(READY) ## The benchmarks of the README, ratios with both sides in one run
	$(BIN)/python -m bench.run

clean: ## Remove what make made
	rm -rf $(VENV) $(TOOLS) dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

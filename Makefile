# Two commands matter on a fresh machine: `make demo` and `make test`. Each makes the virtual environment itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
USABLE := $(VENV)/.usable
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

SIDE_BY_SIDE := --numprocesses 2 --dist loadfile
DRIVEN       := tests/integration tests/deploy tests/bench

# Programs in Go that the tests of deploy/ drive, built from source: Helm, and the loader of Docker Compose.
TOOLS   := .tools
HELM    := helm.sh/helm/v3/cmd/helm@v3.19.0
COMPOSE := github.com/compose-spec/compose-go/v2/cmd@v2.9.1

# What is shipped, with the hash of every file: written, looked through and listed by tools of their own.
SUPPLY  := $(TOOLS)/supply
IMAGE   := $(TOOLS)/image
LOCK    := $(SUPPLY)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-emit-find-links --constraint constraints.txt
HASHED  := -m pip --disable-pip-version-check

MINUTES ?= 5

.PHONY: help demo test lint format types unit faults fuzz soak docs rules chart lock audit sbom tools golden bench clean

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

# What drives real processes by the clock runs without coverage, and the faults run alone: a busy machine is no fault.
unit: $(READY) ## pytest: with branch coverage, then with real processes
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) $(addprefix --ignore=,$(DRIVEN) tests/faults)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile $(DRIVEN)
	$(BIN)/python -m pytest tests/faults

faults: $(READY) ## The whole fault matrix of docs/reliability.md, the slow rows too
	$(BIN)/python -m pytest -m 'slow or not slow' tests/faults

fuzz: $(READY) ## A million inputs that nobody would write, for all that reads what others write
	$(BIN)/python -m bench.fuzz

soak: $(READY) ## The real process while everything happens, at 720 times the speed; MINUTES=60 stands for 30 days
	$(BIN)/python -m bench.soak --minutes $(MINUTES)

docs: $(READY) ## Write the generated pages and dashboards anew
	$(BIN)/python -m exporter.metrics.docs
	$(BIN)/python -m exporter.config.docs
	$(BIN)/python -m exporter.web.docs
	$(BIN)/python -m deploy.grafana

rules: $(READY) ## Record the input of the rule tests anew, from the exporter on the simulator
	$(BIN)/python -m tests.deploy.record

chart: $(READY) ## Write the chart's copies of rules and dashboards and its table of values anew
	$(BIN)/python -m deploy.kubernetes.chart

$(SUPPLY)/.ready: requirements/tools.txt
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python $(HASHED) install --quiet --require-hashes --requirement $<
	@touch $@

lock: export UV_CUSTOM_COMPILE_COMMAND := make lock
lock: $(SUPPLY)/.ready ## Write the hashed lists of requirements/ anew, after a change of pyproject.toml or constraints.txt
	$(LOCK) pyproject.toml --output-file requirements/image.txt
	$(LOCK) requirements/build.in --output-file requirements/build.txt
	$(LOCK) requirements/tools.in --output-file requirements/tools.txt

audit: $(SUPPLY)/.ready ## Ask for known vulnerabilities of what is shipped and of what builds it; needs the network
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/image.txt
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/build.txt
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/tools.txt

sbom: $(SUPPLY)/.ready ## dist/sbom.cdx.json: all that is shipped, in CycloneDX, as the image has it
	$(PYTHON) -m venv --clear --without-pip $(IMAGE)
	$(SUPPLY)/bin/python $(HASHED) --python $(IMAGE)/bin/python install --quiet \
		--require-hashes --requirement requirements/image.txt
	@mkdir -p dist
	$(SUPPLY)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-format JSON --output-file dist/sbom.cdx.json $(IMAGE)/bin/python

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

# `make help` lists the targets. The environment is .venv in this directory; Rust builds in target/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
CARGO ?= cargo
SERVE ?=
PYTEST ?=
SEEDS ?= 10000
FIRST_SEED ?= 0
KILLS ?= 1000
RUNS ?= 1000
MINUTES ?= 10
CUTS ?= 1000
BENCH ?=
SECONDS ?= 3600
TARGETS ?=
COUNT ?= 1000000
SEED ?= 1

RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) $(shell find crates -name '*.rs' -o -name Cargo.toml)
PYTHON_SOURCES := python tools tests examples fuzz $(wildcard bench)
NODE_PEER := build/interop/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help build serve test test-rust simulation torture hostile ipsec soak large-state power disk-faults fuzz test-python lint format types \
	bench bench-durable bench-sizes bench-gil bench-client client-faults client-memory instructions \
	lock audit tls-audit sbom conformance docs docs-check generated-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(STAMPS)/dependencies: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	mkdir -p $(STAMPS) && touch $@

# The Python sources are linked, not copied, so only Rust sources make a new build.
$(STAMPS)/build: $(STAMPS)/dependencies $(RUST_SOURCES)
	PIP_QUIET=1 $(BIN)/maturin develop --release --quiet
	touch $@

# A client in JavaScript to speak with, where there is node; the tests say when there is none.
$(NODE_PEER): tests/integration/interop/node/package.json
	if command -v npm >/dev/null; then \
		mkdir -p build/interop && cp $< build/interop/ && \
		npm install --prefix build/interop --no-save --no-audit --no-fund --silent && touch $@; \
	fi

build: $(STAMPS)/build ## build the release and install it in .venv

serve: build ## build, then run a broker on 127.0.0.1:1883; SERVE='…' adds options
	$(BIN)/noctule serve --data-dir noctule-data $(SERVE)

test: test-rust test-python ## everything CI tests

test-rust: ## unit, property and simulation tests of the crates
	$(CARGO) test --workspace --quiet

simulation: ## more seeds of the simulation: SEEDS=10000, from FIRST_SEED=0 on
	NOCTULE_SEEDS=$(SEEDS) NOCTULE_FIRST_SEED=$(FIRST_SEED) \
		$(CARGO) test --release --package noctule-broker --test simulation

torture: build ## kill -9 the broker under load and count what it kept: KILLS=1000
	NOCTULE_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/durability

power: ## cut the power of the store and of a whole broker at random moments: CUTS=1000
	NOCTULE_POWER_CUTS=$(CUTS) \
		$(CARGO) test --release --package noctule-store --package noctule-server --test power

disk-faults: ## fail every write and sync of a workload, and flip every bit of a small store
	NOCTULE_EVERY_FAULT=1 $(CARGO) test --release --package noctule-store --test faults
	NOCTULE_BIT_STEP=1 $(CARGO) test --release --package noctule-store --test damage

large-state: ## how long 1,000,000 retained messages, 100,000 sessions and a GiB of queues take to begin
	$(CARGO) test --release --package noctule-server --lib -- --ignored --nocapture --test-threads 1 durable::large

hostile: build ## hostile clients at full size; what others felt goes to build/hostile-figures.md
	mkdir -p build
	NOCTULE_SOAK=1 NOCTULE_FIGURES=build/hostile-figures.md $(BIN)/python -m pytest -s tests/hostile

ipsec: build ## MQTT through strongSwan between two network namespaces, as root on Linux
	NOCTULE_TEST_IPSEC=1 $(BIN)/python -m pytest tests/integration/ipsec

soak: build ## mixed traffic, churn, restarts and kills, every promise checked: MINUTES=10
	$(BIN)/python -m tests.durability.soak $(MINUTES)

$(STAMPS)/fuzz: $(STAMPS)/dependencies
	$(BIN)/python -m pip install --quiet --group fuzz
	touch $@

fuzz: build $(STAMPS)/fuzz ## let the fuzzers run, each for SECONDS=3600, or those in TARGETS='codec …'; what is found is in build/fuzz
	CARGO=$(CARGO) PATH="$$PWD/$(BIN):$$PATH" fuzz/run $(SECONDS) $(TARGETS)

fuzz-seeded: ## many inputs near the corpus, unguided and quick, on all cores: TARGETS=worker COUNT=1000000 SEED=1
	$(CARGO) run --release --quiet --package noctule-fuzzing --example seeded -- $(or $(TARGETS),worker) $(COUNT) $(SEED)

test-python: build $(NODE_PEER) ## unit, integration and conformance tests; PYTEST='…' adds options
	$(BIN)/python -m pytest $(PYTEST)

lint: $(STAMPS)/dependencies ## ruff, rustfmt, clippy, import contracts, drift of generated files
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/lint-imports
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

format: $(STAMPS)/dependencies ## put every file into the project's form
	$(BIN)/ruff check --fix-only $(PYTHON_SOURCES)
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

types: build ## mypy strict, and the stub of the engine against the engine
	$(BIN)/mypy
	$(BIN)/stubtest noctule._engine

docs: build ## write the generated pages of docs/reference
	$(BIN)/python tools/generate_docs.py

generated-check: build ## fail when a generated file has drifted, or a statement has no test
	$(BIN)/python tools/generate_docs.py --check
	$(BIN)/python tools/generate_tables.py --check
	$(BIN)/python tools/conformance_matrix.py --check
	test ! -f tools/generate_sync.py || $(BIN)/python tools/generate_sync.py --check

$(STAMPS)/bench: $(STAMPS)/dependencies
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

# Debian keeps mosquitto in /usr/sbin.
bench: build $(STAMPS)/bench ## CPU per message of this broker and of others, as a table and a chart; BENCH='…' adds options
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m bench.harness $(BENCH); status=$$?; \
		$(BIN)/python -m bench.chart && exit $$status

bench-durable: build $(STAMPS)/bench ## what durability costs, with Mosquitto beside it; BENCH='--check' holds it to its goals
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m bench.durable $(BENCH)

bench-sizes: build ## bytes for each connection, retained message and subscription
	$(BIN)/python -m bench.sizes

bench-gil: build ## whether Python code slows an embedded broker down
	$(BIN)/python -m bench.gil

client-faults: build ## the client over a network that fails, with both brokers: RUNS=1000, from FIRST_SEED=0 on
	NOCTULE_FAULT_RUNS=$(RUNS) NOCTULE_FAULT_SEED=$(FIRST_SEED) \
		$(BIN)/python -m pytest tests/integration/client/test_faults.py

client-memory: build ## a million messages past a client's stalled consumer: memory stays flat
	NOCTULE_STALLED_MESSAGES=1000000 $(BIN)/python -m pytest tests/unit/client/test_memory.py

instructions: $(STAMPS)/dependencies ## fail where the instructions of a fixed workload have grown by over 5 %
	$(BIN)/python -m bench.instructions

# amqtt insists on one version of websockets, which is not ours: an environment of its own.
AMQTT := build/amqtt/bin/python

$(AMQTT):
	$(PYTHON) -m venv build/amqtt
	$@ -m pip install --quiet 'amqtt>=0.11' || { rm -rf build/amqtt; exit 1; }

bench-client: build $(AMQTT) ## CPU per message of this client and of other Python clients
	$(BIN)/python -m bench.client --amqtt $(AMQTT) $(BENCH)

lock: $(STAMPS)/dependencies ## take the newest versions that pyproject.toml and Cargo.toml allow, and pin them
	$(CARGO) update --quiet
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --group dev --group bench
	$(BIN)/python -m pip freeze --exclude noctule --exclude pip --exclude setuptools > constraints.txt

audit: ## look the pinned versions up in the RustSec and PyPI advisory databases (needs the internet)
	$(CARGO) install --quiet cargo-audit && $(CARGO) audit
	$(PYTHON) -m venv build/audit && build/audit/bin/python -m pip install --quiet pip-audit
	build/audit/bin/pip-audit --requirement constraints.txt --disable-pip --no-deps

SSLYZE := build/tls-audit/bin/sslyze

$(SSLYZE):
	$(PYTHON) -m venv build/tls-audit
	build/tls-audit/bin/python -m pip install --quiet 'sslyze>=6' || { rm -rf build/tls-audit; exit 1; }

tls-audit: build $(SSLYZE) ## have sslyze, and testssl.sh where it is installed, judge TLS as it is by default
	$(BIN)/python -m tests.integration.listeners.audit $(SSLYZE)

sbom: $(STAMPS)/dependencies ## a wheel with the SBOM of its crates, and the SBOM of the environment, in dist/
	$(BIN)/maturin build --release --quiet --out dist
	$(PYTHON) -m venv build/sbom && build/sbom/bin/python -m pip install --quiet cyclonedx-bom
	build/sbom/bin/cyclonedx-py environment $(VENV) --output-file dist/python.cyclonedx.json

conformance: build ## every normative statement with its tests, as a matrix
	$(BIN)/python tools/conformance_matrix.py

clean: ## remove everything that was built, .venv included
	rm -rf $(VENV) target build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f python/noctule/_engine*.so
	find python tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Two commands matter: `make run` and `make test`. The rest are their parts.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# One build folder, outside the checkout if the environment says so.
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
LISTEN ?= 127.0.0.1:4000
DATA ?= ./well-data

TARGET_TEXT := $(or $(CARGO_TARGET_DIR),$(CURDIR)/tests/bench-text/target)

.PHONY: help run test lint bench bench-store bench-text soak pages tools format unit clients webtransport acme browser system powercut prometheus image sdk fuzz

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: tools pages ## build the pages and the server, and serve them (LISTEN=, DATA=)
	$(CARGO) build --release -p well
	@echo "open http://$(LISTEN)/ once it is listening; stop it with Ctrl-C"
	exec $(TARGET)/release/well serve --listen $(LISTEN) --data $(DATA)

test: tools lint pages sdk unit system powercut clients webtransport acme browser prometheus ## everything that must hold
	@echo "all tests passed"

lint: tools pages sdk ## format, clippy, docs, types, and what the dependencies are allowed to be
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	deploy/tools.sh deny
	cd web && npm run --silent lint
	cd sdk/text && $(CARGO) fmt --all --check && npm run --silent lint
	cd sdk/client && npm run --silent lint
	$(CARGO) fmt --check --manifest-path crdt/fuzz/Cargo.toml
	$(CARGO) fmt --check --manifest-path tests/bench-text/Cargo.toml

format: ## format everything
	$(CARGO) fmt --all
	cd sdk/text && $(CARGO) fmt --all
	$(CARGO) fmt --manifest-path crdt/fuzz/Cargo.toml
	$(CARGO) fmt --manifest-path tests/bench-text/Cargo.toml

pages: web/dist/index.html ## build the pages that the server embeds

web/dist/index.html: sdk/client/dist/index.js web/package-lock.json web/index.html web/vite.config.ts $(shell find web/src web/public -type f 2>/dev/null)
	cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	touch $@

sdk: sdk/text/dist/index.js sdk/client/dist/index.js ## build the packages for browsers: the text engine, the client

sdk/text/dist/index.js: sdk/text/package-lock.json sdk/text/Cargo.lock sdk/text/Cargo.toml sdk/text/engine/Cargo.toml sdk/text/pack/Cargo.toml sdk/text/build.mjs $(shell find sdk/text/engine/src sdk/text/pack/src crdt/src -type f) $(wildcard sdk/text/src/*.ts)
	deploy/tools.sh wasm
	cd sdk/text && npm ci --no-audit --no-fund --loglevel=error && CARGO="$(CARGO)" npm run --silent build
	touch $@

sdk/client/dist/index.js: sdk/text/dist/index.js sdk/client/package-lock.json sdk/client/tsconfig.build.json $(shell find sdk/client/src -type f)
	cd sdk/client && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	touch $@

unit: sdk pages ## unit and property tests of every crate, of the pages, and of the packages for browsers
	$(CARGO) test --workspace --all-features --exclude system-tests --exclude powercut
	cd web && npm test --silent
	cd sdk/text && npm test --silent
	cd sdk/client && npm test --silent

system: ## whole-system tests: hostile input, crashes, crowds, the architecture
	$(CARGO) build -p well
	WELL_BIN=$(TARGET)/debug/well $(CARGO) test -p system-tests

powercut: ## a few power cuts, and the planted bug they must catch
	$(CARGO) test -p powercut

clients: sdk ## the unmodified client libraries, and our own, against a running server
	deploy/tools.sh node
	$(CARGO) build -p well
	cd tests/clients && npm ci --no-audit --no-fund --loglevel=error && WELL_BIN=$(TARGET)/debug/well npm test --silent

webtransport: ## an independent WebTransport client, in two dialects, against a running server
	$(CARGO) build -p well
	python=$$(deploy/tools.sh aioquic) && WELL_BIN=$(TARGET)/debug/well $$python tests/webtransport/aioquic_client.py

acme: ## a certificate from an authority that looks
	$(CARGO) build -p well
	python=$$(deploy/tools.sh aioquic) && WELL_BIN=$(TARGET)/debug/well $$python -m unittest discover --verbose -s tests/acme -p '*_test.py'

browser: pages ## the pages in a real browser
	deploy/tools.sh node chromium
	$(CARGO) build -p well
	cd tests/browser && npm ci --no-audit --no-fund --loglevel=error && WELL_BIN=$(TARGET)/debug/well npm test --silent

prometheus: ## rules, alerts, runbooks and dashboards against a real Prometheus; unit, image, composition; top and bench
	$(CARGO) build -p well
	python=$$(deploy/tools.sh prometheus) && WELL_BIN=$(TARGET)/debug/well $$python -m unittest discover --verbose -s tests/observability -p '*_test.py'

image: pages ## the container image the-well, from a static binary (needs docker, podman or buildah)
	deploy/image.sh builder >/dev/null
	target=$$(deploy/tools.sh musl) && $(CARGO) build --release -p well --target $$target && deploy/image.sh $(TARGET)/$$target/release/well

tools: ## install, or name, what this machine lacks
	@deploy/tools.sh base

bench: tools ## the load tool: every scenario beside its reference (ARGS="--quick")
	$(CARGO) build --release -p well -p well-bench
	WELL_BIN=$(TARGET)/release/well $(TARGET)/release/well-bench all $(ARGS)

bench-store: ## the log alone, beside an append and a sync of the same bytes
	$(CARGO) run --release -p storage --example store_bench

bench-text: ## our text CRDT beside others (TRACES="files", FORMAT=json)
	@cd tests/bench-text && $(CARGO) build --release --quiet
	@$(TARGET_TEXT)/release/bench-text $(if $(filter json,$(FORMAT)),--json) $(TRACES)

FUZZ := apply load merge_diff converge anchors_undo
TIME ?= 60

fuzz: ## fuzz the text CRDT, each target TIME= seconds (nightly Rust; crashes go to crdt/fuzz/artifacts)
	deploy/tools.sh fuzz
	for target in $(FUZZ); do \
		mkdir -p $(TARGET)/fuzz/corpus/$$target; \
		(cd crdt && PATH="$(TARGET)/tools/bin:$$PATH" $(CARGO) +nightly fuzz run --sanitizer none --target-dir $(TARGET)/fuzz $$target \
			$(TARGET)/fuzz/corpus/$$target fuzz/corpus/$$target -- -max_total_time=$(TIME) -max_len=1024 -timeout=20 -rss_limit_mb=256); \
	done

soak: ## the long campaigns: 300 power cuts, 50 crashes, 10,000 connections, 100,000 rooms, a million edits, attacks, bad weather, long fuzzing
	$(CARGO) build --release -p well
	$(CARGO) run --release -p powercut -- --rounds 300
	CONVERGE_OPERATIONS=1000000 $(CARGO) test --release -p crdt --test converge
	FUZZ_MESSAGES=10000000 $(CARGO) test --release -p protocol --test well_fuzz -- --nocapture
	WELL_BIN=$(TARGET)/release/well CRASH_ROUNDS=50 CROWD=10000 SERIES_ROOMS=100000 SCRAPES=10000 HOSTILE_CASES=100000 WEATHER_EDITS=1200 WEATHER_DELAY_MS=1000 WEATHER_CUT_MS=60000 ONCE_OPERATIONS=100000 ONCE_KILLS=20 $(CARGO) test --release -p system-tests -- --nocapture
	$(CARGO) build --release -p well-bench
	WELL_BIN=$(TARGET)/release/well $(TARGET)/release/well-bench --seconds 10 attack

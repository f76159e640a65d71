# neargrid's tasks. `make help` lists them; README.md needs only run and test.

GO          ?= go
FUZZTIME    ?= 100000x
COMMANDS    ?= 1000000
SEEDS       ?= 1000
KILLS       ?= 200
FAULTS      ?= 1000
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PLATFORMS   := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## build bin/neargrid
	$(GO) build -o bin/neargrid ./cmd/neargrid

.PHONY: run
run: build ## build, start a grid of three nodes for trying things out, and print how to connect
	exec bin/neargrid dev

.PHONY: test
test: ## run all tests; fetches a redis-server to compare with, and a Node.js to use a sidecar from, where it can
	@scripts/need redis-server redis-cli node npm
	$(GO) test ./...

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

.PHONY: race
race: ## run tests under the race detector, with our own checks on (needs a C compiler; fetches gcc where it can); cluster/core, where one goroutine does all, with the checks alone
	@scripts/need gcc
	@if command -v gcc >/dev/null; then set -x; CGO_ENABLED=1 $(GO) test -race -tags invariants $$($(GO) list ./... | grep -v /cluster/core$$); fi
	$(GO) test -tags invariants ./cluster/core

.PHONY: fuzz
fuzz: ## run every fuzz target with FUZZTIME (100000x) inputs, or for a time such as 1m
	@GO="$(GO)" FUZZTIME=$(FUZZTIME) scripts/fuzz

.PHONY: cross
cross: ## build for each system and processor we support, and compile the tests for macOS too
	@for p in $(PLATFORMS); do \
		echo "$$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) build -pgo=off -o /dev/null ./cmd/neargrid || exit 1; \
	done
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...

.PHONY: mutants
mutants: ## plant bugs (ONLY=regexp: some), one at a time, and fail where the tests that should notice do not
	$(GO) run ./internal/mutants -only '$(ONLY)'

.PHONY: differential
differential: ## compare replies to COMMANDS (1000000) random commands with redis-server's
	@scripts/need redis-server
	$(GO) run ./internal/differential -n $(COMMANDS)

.PHONY: differential-short
differential-short: ## the same with 60000 commands, as `make test` does
	@scripts/need redis-server
	$(GO) run ./internal/differential -n 60000

.PHONY: sim
sim: ## simulate SEEDS (1000) grids through faults: replication, failover, movement; and as many with near caches
	$(GO) test ./cluster/core -run '^TestSim(Near)?$$' -count=1 -v -sim.seeds $(SEEDS)

.PHONY: faults
faults: ## kill, freeze, cut off and restart real nodes under load, and write docs/bench/faults.md; about half an hour
	$(GO) run ./internal/faults -kills $(KILLS)

.PHONY: oracle
oracle: ## torment grids FAULTS (1000) times, judge how old near reads are, and write docs/bench/oracle.md; about a quarter of an hour
	$(GO) run ./internal/oracle -faults $(FAULTS)

.PHONY: redis-suite
redis-suite: build ## run Redis 7.0.15's own tests against ours; those in testdata/redis-suite/passing.txt must pass
	@scripts/redis-suite

.PHONY: bench
bench: ## measure against redis-server and write docs/bench/node.md; fails where a target is missed
	@scripts/need redis-server redis-benchmark
	$(GO) run ./internal/bench

.PHONY: bench-cluster
bench-cluster: ## measure a grid of three nodes against redis-server and write docs/bench/cluster.md; fails where a target is missed
	@scripts/need redis-server redis-benchmark
	$(GO) run ./internal/bench -suite cluster

.PHONY: bench-client
bench-client: ## measure package client beside go-redis and rueidis, in one run against one node
	$(GO) test ./client -run '^$$' -bench Clients -benchtime 2s

.PHONY: bench-near
bench-near: ## measure near caches (hits, speed-ups, freshness, cost to nodes) and write docs/bench/near.md; fails where a target is missed
	@scripts/need redis-server redis-benchmark
	$(GO) run ./internal/bench -suite near

.PHONY: bench-hits
bench-hits: ## replay recorded requests through the near cache and write docs/bench/hits.md; fails where a hit rate misses its target
	$(GO) run ./internal/hits

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf bin .cache
	$(GO) clean -testcache -fuzzcache

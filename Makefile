# Crossfade's developer targets. Tools are pinned in hack/tools, built once into bin/.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

##@ Use
.PHONY: demo
demo: ## a live migration on this machine, start to end (on Kubernetes if one is at hand)
	hack/demo/run.sh

.PHONY: demo-kube
demo-kube: ## the same on a real single-node Kubernetes of our own, as root
	hack/demo/kube.sh

.PHONY: build
build: ## bin/crossfade, static
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o bin/crossfade .

.PHONY: image
image: ## container images as tars in bin/images, without a container engine
	hack/image.sh

##@ Test
.PHONY: unit
unit: ## quick tests, on redis-server and versitygw
	RACE=0 hack/test.sh fast

.PHONY: test
test: ## every Go test, on real parts, with the race detector; gets what it needs
	hack/test.sh

.PHONY: faults
faults: ## processes killed, networks cut, stores and Redis failing, under load (FAULTS_TIME, FAULTS_SEED)
	hack/faults.sh --time $${FAULTS_TIME:-12m} --seed $${FAULTS_SEED:-0}

.PHONY: faults-short
faults-short: ## the same: over and back, with the ledger lost in the middle of it
	hack/faults.sh --time 40s --storm 15s --losses 1 --quick --seed $${FAULTS_SEED:-0}

.PHONY: sim
sim: ## the protocol under a simulated world, 1000 histories; SEED=N (AIM=N) replays one
	hack/sim.sh run

.PHONY: sim-campaign
sim-campaign: ## the same with new seeds until told to stop
	hack/sim.sh campaign

.PHONY: sim-teeth
sim-teeth: ## breaks each rule of the protocol and prints the seed that notices
	hack/sim.sh teeth

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_TIME (30s)
	hack/fuzz.sh

.PHONY: e2e
e2e: ## the chart on a real node, with pods killed along the way, as root
	test/e2e/run.sh

.PHONY: conformance
conformance: ## others' S3 suites and real clients, directly and through the proxy in each phase (hours)
	hack/conformance.sh -out docs/conformance.md

.PHONY: conformance-short
conformance-short: ## a part of that
	hack/conformance.sh -short

.PHONY: bench-proxy
bench-proxy: ## what the proxy costs beside nginx and the store itself (BENCH="--quick": a minute)
	hack/bench-proxy.sh $${BENCH:-}

##@ Change
.PHONY: generate
generate: ## deep copy functions
	hack/tool.sh controller-gen
	bin/controller-gen object paths=./api/...

.PHONY: manifests
manifests: ## CRD and RBAC from the Go code
	hack/manifests.sh

.PHONY: fmt
fmt: ## format the Go code
	hack/tool.sh golangci-lint
	bin/golangci-lint fmt

.PHONY: lint
lint: ## golangci-lint, import directions included
	hack/tool.sh golangci-lint
	bin/golangci-lint run

.PHONY: verify
verify: ## generate, format and lint; fails if that changes a file
	hack/verify.sh

.PHONY: clean
clean: ## removes bin/ (built tools stay in ~/.cache/crossfade)
	rm -rf bin

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

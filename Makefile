# Two commands matter: `make run` and `make test`. Each does all of its own set-up on Debian 12 with a Swift toolchain.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test lint bench

help: ## what can be done here
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: # the libraries that a build needs
	@scripts/setup.sh

run: setup ## build, and run with the built-in defaults on loopback (policy service on 127.0.0.1:10023)
	swift build -c release --product postern
	exec .build/release/postern serve

test: setup ## the whole suite, with real mail servers in private roots
	scripts/servers.sh fetch
	swift build --build-tests
	swift test --skip-build

lint: ## the format, and who may import what
	@scripts/lint.sh

bench: setup ## measure beside the peers, in one run
	scripts/servers.sh fetch
	scripts/bench.sh

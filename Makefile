# Two commands matter: `make run` and `make test`. Each does all of its own set-up on Debian 12 with a Swift toolchain.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test lint bench fuzz deb

help: ## what can be done here
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: # the libraries that a build needs
	@scripts/setup.sh

run: setup ## build, and run with the built-in defaults on loopback (policy service on 127.0.0.1:10023)
	scripts/release.sh
	exec .build/release/postern serve

# In parts: real servers, and tests that watch the clock, suffer while every core works through random schedules or load. What talks
# over sockets runs one test at a time, so that none takes the machine from another.
clocked := PosternResolverTests|OverTheWire|PosternTarpitTests|PosternServerTests|PosternControlTests.SocketTests
real := IntegrationTests|CommandTests
heavy := GatewayNothingLostTests|GatewayMemoryTests|NeverLostTests|TrapTests
timed := IntegrationTests.FakeMXTests|TrapFloodTests|HarnessTests
test: setup ## the whole suite, with real mail servers in private roots
	scripts/servers.sh fetch postfix exim4 opensmtpd postgrey swaks haproxy strace unbound rbldnsd bind9-dnsutils dnsperf nftables sqlgrey shells chromium prometheus lintian dovecot
	swift build --build-tests
	scripts/tests.sh --skip '$(clocked)|$(real)'
	scripts/test_package.sh || [ $$? = 77 ]
	scripts/fuzz.sh
	scripts/tests.sh --no-parallel --filter '$(clocked)'
	scripts/tests.sh --no-parallel --filter '$(real)' --skip '$(heavy)|$(timed)'
	scripts/tests.sh --no-parallel --filter '$(heavy)'
	scripts/tests.sh --no-parallel --filter '$(timed)'

lint: ## the format, and who may import what
	@scripts/lint.sh

# What it learns stays in .build-fuzz for the next time; SECONDS_EACH says how long each of them is fuzzed.
fuzz: setup ## every parser and protocol machine, for ten minutes each
	scripts/fuzz.sh --seconds $${SECONDS_EACH:-600}

deb: setup ## a Debian package in .build/deb, with the Swift runtime inside
	scripts/release.sh
	scripts/deb.sh

bench: setup ## measure beside the peers, in one run
	scripts/servers.sh fetch postgrey postfix haproxy rbldnsd dnsperf endlessh
	scripts/bench.sh
	scripts/bench_gateway.sh
	scripts/bench_throttle.sh --no-build
	scripts/bench_trap.sh
	scripts/bench_lists.py .build/release/postern
	scripts/bench_dashboard.sh --no-build

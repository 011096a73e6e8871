# Every target sets itself up: it needs Python 3.11 or newer, make, and a package index pip can reach.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet install --constraint constraints.txt
SETUP  := pyproject.toml constraints.txt setup.py $(wildcard book/*.c)
PACKAGES := book venues storage ingest replay exchange cli

.PHONY: help demo test bench bench-quick bench-check lint types format peers schema sim crash fuzz gateway mutants clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

demo: $(VENV)/.run  ## record the embedded exchange for 20 s with faults on, and compare with the truth
	@$(BIN)/bookreel demo

test: $(VENV)/.test  ## run the tests
	$(BIN)/python -m pytest -n auto tests

lint: $(VENV)/.lint  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.lint  ## rewrite in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.types build/types  ## check types with mypy --strict and pyright
	$(BIN)/mypy $(addprefix build/types/bookreel/,$(PACKAGES))
	@# Named one by one, with a slash: pyright does not look for links in a folder it is given.
	$(BIN)/pyright $(patsubst %,build/types/bookreel/%/,$(PACKAGES))

BENCH := $(BIN)/python -m pytest -c benchmarks/pytest.ini benchmarks
bench: $(VENV)/.bench build/peers/.installed  ## measure everything beside the peers, and write benchmarks/RESULTS.md
	$(BENCH) --benchmark-json=build/bench.json
	$(BIN)/python benchmarks/results.py build/bench.json benchmarks

bench-quick: $(VENV)/.bench build/peers/.installed  ## the same on less data in two minutes, written to build/bench
	@mkdir -p build/bench
	BOOKREEL_BENCH=quick $(BENCH) --benchmark-json=build/bench/run.json
	$(BIN)/python benchmarks/results.py build/bench/run.json build/bench

bench-check: bench-quick  ## fail if more than 15 % was lost against a peer since the committed results
	$(BIN)/python benchmarks/check.py benchmarks/results.json build/bench/results.json

peers: $(VENV)/.peers $(VENV)/.test  ## prove the embedded exchanges with ccxt, cryptofeed and futu-api
	@$(PIP) --no-deps futu-api  # for its message classes only
	$(BIN)/python -m pytest -m peers tests

schema: $(VENV)/.schema $(VENV)/.test  ## fuzz the server by its own document, beside a running recorder
	$(BIN)/python -m pytest -m schema tests/replay/server

sim: $(VENV)/.test  ## record 16 simulated hours with every fault, and 120 short seeds
	$(BIN)/python -m tests.simulation

crash: $(VENV)/.test  ## kill the recorder, the sealer and the power at every point, and recover
	$(BIN)/python -m tests.crash

fuzz: $(VENV)/.test  ## up to ten million hostile frames, and every bit of a segment flipped
	$(BIN)/python -m tests.fuzz

gateway: $(VENV)/.test  ## record the gateway of stocks for 3 minutes with every fault, and compare with the truth
	$(BIN)/python -m tests.gateway

mutants: $(VENV)/.test  ## plant bugs, and see that the tests find each one
	$(BIN)/python -m tests.mutants

clean:  ## remove everything the other targets made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.run: $(SETUP)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing bookreel into $(VENV) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.%: $(VENV)/.run $(SETUP)
	@$(PIP) --editable '.[$*]'
	@touch $@

# Their requirements clash with ours. One that cannot be installed here is reported as not measured.
build/peers/.installed: benchmarks/peers.txt
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@echo "installing the peers into $(@D) ..."
	@grep -v '^#' $< | while read -r name; do \
		$(@D)/bin/pip --disable-pip-version-check --quiet install --no-deps --only-binary :all: $$name \
			|| echo "not installed: $${name%% *}"; \
	done
	@touch $@

# The folders are mapped to bookreel.* by setuptools; the type checkers see the same names through links.
build/types: Makefile
	@rm -rf $@ && mkdir -p $@/bookreel
	@for package in $(PACKAGES); do ln -s ../../../$$package $@/bookreel/$$package; done

# make train       the main job: a class-conditional GAN on handwritten digits, from a fresh clone
# make test        the default suite
# make test-full   the longer tests, reliability at full size: one JSON line each
# make cover       the fast half of the suite, with the lines that no test reaches
# make lint        ruff, pyright and the import contract
# make docs        the documentation as a site, in build/site
# make bench       every benchmark; each prints one JSON object
# make gpu-check   whether all is right and fast on a CUDA device, in 8 minutes (DEVICE=cpu: small, anywhere)
# make bench-quality       the quality benchmarks, about 1 h 50 min on two cores (docs/quality.md)
# make bench-quality-long  LONG: Stacked MNIST by protocol B at 60,000 iterations, 5 h
# make clean       remove the environment and the caches of the tools
#
# PYTHON is the interpreter that makes the environment (3.11 or newer); VENV is where it goes.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/digits
BIN := $(VENV)/bin
SMOKE := tests/e2e/test_smoke.py
FIRST_HALF := tests/e2e tests/contracts

QUALITY := $(BIN)/python benchmarks/quality
JOBS ?= 3
DEVICE ?= cuda

# The tests of the studio drive Debian's Chromium, and skip where there is none.
BROWSER := command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo "no Chromium: apt-get install chromium, or the studio's tests in a browser are skipped"

# What a page of `export --format web` computes with; its test skips without npm.
WEB := ! command -v npm >/dev/null || { mkdir -p build/npm \
	&& npm pack onnxruntime-web@1.30.0 --pack-destination build/npm --silent >/dev/null; } \
	|| echo "onnxruntime-web did not come from npm; the test of the web page is skipped"

.PHONY: train test test-full cover lint docs bench gpu-check bench-quality bench-quality-long clean

train: $(VENV)/.train-installed
	$(BIN)/python -m limner train digits --run $(RUN)

# Two halves of about the same length, a process each; the output of the first is shown at the end.
test: $(VENV)/.dev-installed
	@mkdir -p reports
	@$(BIN)/python -m pytest $(FIRST_HALF) >reports/first-half.txt 2>&1 & first=$$!; \
	$(BIN)/python -m pytest $(addprefix --ignore=,$(FIRST_HALF)); second=$$?; \
	wait $$first; first=$$?; cat reports/first-half.txt; \
	if [ $$second -ne 0 ]; then exit $$second; fi; exit $$first

test-full: $(VENV)/.dev-installed
	rm -f reports/reliability.jsonl
	@LIMNER_TEST_SIZE=full $(BIN)/python -m pytest -m "full or reliability" --timeout=3600; \
	code=$$?; cat reports/reliability.jsonl; exit $$code

cover: $(VENV)/.dev-installed
	$(BIN)/python -m pytest tests/unit tests/contracts --cov=limner --cov-report=term-missing:skip-covered

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: $(VENV)/.dev-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "open build/site/index.html; with its search: $(BIN)/python -m http.server -d build/site"

# PEERS: a folder with clones of the programs that limner is measured against; without, it is measured alone.
bench: $(VENV)/.dev-installed
	$(BIN)/python benchmarks/peers $(if $(PEERS),--peers $(PEERS) --out)
	@set -e; for file in $(filter-out benchmarks/mnist_data.py benchmarks/gpu_check.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$file; done

gpu-check: $(VENV)/.dev-installed
	@mkdir -p reports
	$(BIN)/python benchmarks/gpu_check.py --device $(DEVICE) --out reports/gpu-check.json

# Seeds run side by side, one thread each. Stopped, the same command goes on. A run that fails or
# misses its goal stands in the results as well, and does not keep the others from running.
bench-quality: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -m "full or not full" $(SMOKE)
	-$(QUALITY) conditional --seeds 0-2 --jobs $(JOBS)
	-$(QUALITY) ring --seeds 0-2 --jobs $(JOBS)
	-$(QUALITY) grid --seeds 0-2 --jobs $(JOBS)
	-$(QUALITY) stacked --seeds 0-2 --jobs $(JOBS) --minutes 84
	$(QUALITY) table

# LONG, about 5 h on two cores: not part of bench-quality.
bench-quality-long: $(VENV)/.dev-installed
	-$(QUALITY) protocol-b-half --seeds 0-2 --jobs $(JOBS)
	-$(QUALITY) protocol-b-quarter --seeds 0-2 --jobs $(JOBS)
	$(QUALITY) table

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "limner needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# An install is repeated when pyproject.toml is newer than the stamp that it left.
$(VENV)/.train-installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[report,track,metrics]'
	@touch $@

$(VENV)/.dev-installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@$(BROWSER)
	@$(WEB)
	@touch $@ $(VENV)/.train-installed

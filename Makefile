# One task definition for a laptop and for CI. `make demo` and `make test` set up what they need in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := .cache/demo
ONLY ?=
PYTEST := $(BIN)/python -m pytest
unexport PYTHONDONTWRITEBYTECODE  # tests and the demo start many processes: none is to translate the kit anew

.PHONY: help setup converters demo test lint proofs bench picture lock clean
help:  ## what there is to do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(READY)  ## a locked development environment in .venv

$(READY): requirements/dev.txt requirements/data.txt pyproject.toml
	@echo "setting up $(VENV) (about a minute)"
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/data.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

converters: $(READY)  ## add the libraries of every converter to .venv (3 GB), so that no conversion is skipped
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/convert.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/torch.txt

demo: $(READY)  ## the main job on real input, ending with the path of a report
	@$(BIN)/python examples/demo.py $(DEMO)

test: $(READY) lint  ## what must always hold; lists what it skipped and why
	@$(PYTEST) -n 2 --dist loadscope --no-loadscope-reorder -m "not proof"

lint: $(READY)  ## style, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache | tail -n 12

proofs: $(READY)  ## slow proofs: verdicts, processors, faults, fuzzing; ONLY=name for some
	@$(PYTEST) -m proof -s --timeout 1800 tests $(if $(ONLY),-k $(ONLY))

bench: $(READY)  ## ours against named peers, side by side; ONLY=name for one
	@$(BIN)/python -m benchmarks $(ONLY)

lock: $(READY)  ## resolve the locked environment again
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml requirements/dev.in --extra sklearn --extra parquet --extra keys --extra weights --extra detection --extra joulescope --extra nvml --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet -o requirements/dev.txt
	@$(BIN)/uv pip compile requirements/data.in --no-deps --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet -o requirements/data.txt
	@$(BIN)/uv pip compile pyproject.toml requirements/convert.in --extra sklearn --extra xgboost --extra lightgbm \
		--extra tensorflow --extra tflite --constraint requirements/dev.txt --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet -o requirements/convert.txt

clean:  ## remove what these tasks made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

picture: demo  ## the README's picture, from the demo's third report, in headless Chromium
	@profile=$$(mktemp -d); report=$$(ls -d $(DEMO)/runs/*/report.html | tail -n 2 | head -n 1); \
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-background-networking --disable-component-update \
		--disable-sync --no-first-run --user-data-dir=$$profile --window-size=1280,1720 \
		--screenshot=docs/report.png "file://$(CURDIR)/$$report" 2>/dev/null; rm -rf $$profile

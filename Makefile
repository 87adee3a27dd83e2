# `make` alone lists the targets.
.DEFAULT_GOAL := help
PY := .venv/bin/python

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## create both environments and install what is missing
	@scripts/setup.sh gateway engine

run: setup  ## everything, on the embedded database; prints the URLs
	@exec $(PY) -m bot.cli up

test: setup  ## the whole suite and the static checks
	@scripts/setup.sh tests browser
	@scripts/check.sh
	@$(PY) -m pytest -n 2 --dist worksteal

test-fast: setup  ## unit tests only, for the inner loop
	@scripts/setup.sh tests
	@$(PY) -m pytest -m "not slow" -n 3

check:  ## lint, format, types, import levels
	@scripts/check.sh

models: setup  ## adapt the sentence model and train all heads anew (an hour or so; needs 5 GB for PyTorch)
	@scripts/setup.sh tests train
	@.venv-train/bin/python scripts/romanise.py
	@.venv-train/bin/python scripts/train_encoder.py
	@$(PY) -m nlu.encoder_build
	@$(PY) -m bot.cli train
	@$(PY) -m bot.cli evaluate risk --write

requirements:  ## compile the hashed requirement files from the .in files
	@scripts/compile_requirements.sh

.PHONY: help setup run test test-fast check models requirements

# Two commands do everything on a machine with Python 3.11 and make:
#   make demo   install, then run the whole chain on the shipped micro models
#   make test   install, then pass the tests

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
CORES ?= all
SECONDS ?= 60
SEED ?= 1
PROCESSES ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n : 4)))
INSTALLED := $(VENV)/.sotaque-installed
BACKENDS := $(VENV)/.sotaque-backends
export PATH := $(abspath $(VENV))/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

# make demo MODEL=... ACCENT=... lays these over params.yaml for one run
OVERRIDES := $(if $(MODEL),'model=$(MODEL)') $(if $(ACCENT),'corpus={accent: $(ACCENT)}')
CONFIG := $(if $(strip $(OVERRIDES)),--config $(OVERRIDES))

help:  ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(INSTALLED)  ## make .venv and install every package of the lock into it

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version); expected Python 3.11: make $@ PYTHON=/path/to/python3.11" >&2; exit 2; }
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	@echo "installing the packages of requirements.lock into $(VENV) (some minutes, once)"
	@python -m pip install --quiet --constraint requirements.lock "$$(grep '^torch==' requirements.lock)"
	@python -m pip install --quiet --no-deps --requirement requirements.lock
	@python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

backends: $(BACKENDS)  ## install the packages of the model families that need their own (backends.lock)

$(BACKENDS): backends.lock $(INSTALLED)
	@echo "installing the packages of backends.lock into $(VENV)"
	@python -m pip install --quiet --no-deps --requirement backends.lock
	@python -c 'import torchaudio' 2> /dev/null || { \
		echo "torchaudio's compiled part needs CUDA's libraries, which are not here: it is removed, its Python stays"; \
		rm -f $(VENV)/lib/python3*/site-packages/torchaudio/lib/*.so; python -c 'import torchaudio'; }
	@touch $@

demo: $(INSTALLED)  ## run the whole chain on the shipped micro models and print the results
	@mkdir -p scratch && date +%s > scratch/demo-started
	@snakemake --cores $(CORES) $(CONFIG)
	@sotaque summary $(if $(MODEL),--model '$(MODEL)')

test: $(BACKENDS)  ## run the tests, on up to four cores; PROCESSES=... on others
	@python -m pytest --numprocesses $(PROCESSES) --dist loadfile

test-cpus: $(BACKENDS)  ## run the tests that compute as older processors do; FILES=... for some
	@python tests/run_on_cpus.py $(FILES)

fuzz: $(INSTALLED)  ## feed every reader broken input; SECONDS=..., SEED=...
	@python tests/fuzz.py --seconds $(SECONDS) --seed $(SEED)

compare-tiny: $(BACKENDS)  ## put four tiny random families side by side: scratch/compare-tiny/results/compare.html
	@python tests/compare_tiny.py scratch/compare-tiny $(CORES)

lint: $(INSTALLED)  ## check style of Python, Snakemake and shell commands
	@ruff check .
	@ruff format --check .
	@snakefmt --check Snakefile workflow/rules
	@snakemake --lint

format: $(INSTALLED)  ## put the style right
	@ruff check --fix .
	@ruff format .
	@snakefmt Snakefile workflow/rules

bench: $(INSTALLED)  ## produce the figures of the README's tables; NAME=... for one
	@python -m bench $(NAME)

micro: $(INSTALLED)  ## make the shipped micro models anew (hours of CPU, or a GPU)
	@snakemake --snakefile src/sotaque/micro/Snakefile --cores $(CORES)

ui: $(INSTALLED)  ## open MLflow's pages on this machine: http://127.0.0.1:5000
	@mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

pull: $(INSTALLED)  ## bring the versioned results from the DVC remote; Snakemake then finds nothing to do
	@[ -f dvc.lock ] || { echo "there is no dvc.lock, which says what to pull: run dvc repro where the results are, commit dvc.lock and dvc push" >&2; exit 2; }
	@[ -n "$$(dvc remote list)" ] || { echo "there is no remote to pull from: dvc remote add -d store PATH_OR_URL" >&2; exit 2; }
	@dvc pull
	@sotaque freshen

lock: pyproject.toml  ## write requirements.lock anew from the ranges of pyproject.toml
	@rm -rf scratch/lock && $(PYTHON) -m venv scratch/lock
	@scratch/lock/bin/pip install --quiet torch==2.13.0
	@sed -n '/^dependencies = \[/,/^\]/p;/^dev = /p' pyproject.toml | grep -oE '"[^"]+"' | tr -d '"' \
		| grep -vE '^(openai-whisper|resemblyzer)' > scratch/lock/ranges.txt
	@scratch/lock/bin/pip install --quiet --requirement scratch/lock/ranges.txt "setuptools>=77.0.3,<82"
	@scratch/lock/bin/pip install --quiet --no-deps openai-whisper resemblyzer
	@{ head -2 requirements.lock; scratch/lock/bin/pip freeze --all | grep -v '^pip==' | sed 's/^torch==.*/torch==2.13.0/'; } > scratch/lock/new
	@mv scratch/lock/new requirements.lock && rm -rf scratch/lock

clean:  ## remove everything that the pipeline made; raw corpora and the environment stay
	@rm -rf data/raw/demo data/manifest data/wav data/measures data/quality data/splits data/tokens data/export models results logs scratch .stamps .locks

.PHONY: help install backends demo test test-cpus fuzz compare-tiny lint format bench micro ui pull lock clean

# Every documented word. `make help` is generated from this file: a line "##@ Title" opens a group and the text behind
# "##" of a target is its description. To add a word, write its target under the group it belongs to; nothing else.
# Options for the command behind a word go into ARGS:  make run-local ARGS="--epochs 3"
# TORCH=cuda or TORCH=cpu chooses PyTorch's build on Linux; else it fits the machine (scripts/install_torch.sh).

MAKEFILE := $(firstword $(MAKEFILE_LIST))
HASH := \#
WORDS := $(shell sed -n 's/^\([a-z][a-z0-9-]*\):.*$(HASH)$(HASH) .*/\1/p' $(MAKEFILE))
ARGS ?=

# An active Conda environment made by `make setup-conda` is used as it is; everything else lives in .venv.
ENVIRONMENT := $(if $(filter lora-cuda lora-m3 lora-cpu,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX),.venv)
# Modules, not the scripts beside them: those name the folder in which they were installed and break when it is moved.
PYTHON_M := $(ENVIRONMENT)/bin/python -m
FT30 := $(PYTHON_M) finetune30

# What a word needs is brought by itself: each of these sets contains the ones before it. Not words of their own.
RUNNING := .running
SERVICES := .services
CHAT := .chat
DEV := .dev

.DEFAULT_GOAL := help
.PHONY: $(WORDS) $(RUNNING) $(SERVICES) $(CHAT) $(DEV)

$(RUNNING) $(SERVICES) $(CHAT) $(DEV):
	@sh scripts/install_environment.sh "$(ENVIRONMENT)" $(@:.%=%)

##@ Start here

help: ## List every word
	@awk -f scripts/list_make_words.awk $(MAKEFILE)

run-local: $(RUNNING) ## Train with config/default.yaml and print the results
	@$(FT30) train --config config/default.yaml $(ARGS)

run-chat: $(CHAT) ## Teach the starter chat model the facts of an invented shop, ask it before and after
	@$(FT30) train --config config/starter_chat.yaml $(ARGS)

logs-local: $(RUNNING) ## Follow the log of the newest run
	@$(FT30) runs logs latest --follow $(ARGS)

db-list: $(RUNNING) ## Print the table of runs
	@$(FT30) runs list $(ARGS)

##@ Services (one terminal each, or all of them with: make up)

start-services: $(SERVICES) ## Bring up Redis: the one that answers, else one that this machine has
	@$(FT30) services $(ARGS)

start-worker: $(SERVICES) ## Carry queued runs out
	@$(FT30) worker $(ARGS)

start-api: $(SERVICES) ## Serve the REST API on http://localhost:8000
	@$(FT30) api $(ARGS)

start-ui: $(SERVICES) ## Serve the page on http://localhost:8501
	@$(FT30) ui $(ARGS)

up: $(SERVICES) ## Redis, worker, API and page under one supervisor
	@$(FT30) up $(ARGS)

status: $(SERVICES) ## What is up, how many runs wait, who works on what
	@$(FT30) status $(ARGS)

##@ Data

data-analyze: $(RUNNING) ## Labels, lengths, words and duplicates of the default data set
	@$(FT30) data analyze $(ARGS)

data-validate: $(RUNNING) ## Check every row of the default data set; faults are named by place
	@$(FT30) data validate $(ARGS)

data-versions: $(RUNNING) ## Store the default data set as a version and list all versions
	@$(FT30) data versions create $(ARGS)
	@$(FT30) data versions list

##@ Environment

install: ## Create .venv and install all that running and services need (every word installs its part by itself)
	@sh scripts/install_environment.sh "$(ENVIRONMENT)" services again

install-chat: ## What running needs and the starter chat model, SmolLM2-135M-Instruct dequantised from Q4_1 (93 MB)
	@sh scripts/install_environment.sh "$(ENVIRONMENT)" chat again

install-dev: ## The same with what checks and tests need
	@sh scripts/install_environment.sh "$(ENVIRONMENT)" dev again

setup-conda: ## Build a Conda environment for this machine: lora-cuda, lora-m3 or lora-cpu
	@sh scripts/setup_conda.sh

##@ Development

check: $(DEV) ## Lint, formatting, types, the walls between the rooms, wheels of every locked package
	$(PYTHON_M) ruff check .
	$(PYTHON_M) ruff format --check .
	$(PYTHON_M) mypy
	$(ENVIRONMENT)/bin/python $(ENVIRONMENT)/bin/lint-imports
	$(ENVIRONMENT)/bin/python scripts/check_wheels.py

docs: $(DEV) ## Write the generated parts of docs/ anew
	@$(ENVIRONMENT)/bin/python scripts/write_reference_docs.py

format: $(DEV) ## Reformat the sources and mend what the linter can mend
	$(PYTHON_M) ruff check --fix .
	$(PYTHON_M) ruff format .

# Two processes: many tests wait for other processes. Whole files, so that a database server is started once for each,
# in the order of tests/conftest.py: pytest-xdist's own, files of many tests first, leaves long ones for the end.
test: $(DEV) ## Run all tests (a part: make test ARGS="tests/unit -k data")
	@sh scripts/install_browser.sh
	@$(PYTHON_M) pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

install-peers: ## Programs that read what is made here: llama.cpp (30 MB; needs npm), openai; ARGS=all: TensorBoard, MLflow, W&B (1.1 GB)
	@sh scripts/install_peers.sh $(ARGS)

test-peers: $(DEV) ## Tests with these programs (installs them where they are missing)
	@sh scripts/install_peers.sh all
	@$(PYTHON_M) pytest -m peers tests/integration/test_gguf_exports.py tests/integration/test_openai_client.py \
	tests/integration/test_mirrors_read_back.py tests/unit/service/test_wandb_mirror.py $(ARGS)

# Children that a test kills in the middle of writing leave files that cannot be read, of which nobody needs to hear.
coverage: $(DEV) ## Run all tests and say how much of each room they reach, in child processes too (build/coverage/html)
	@sh scripts/install_browser.sh
	@rm -rf build/coverage
	@$(PYTHON_M) coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS); tested=$$?; export PYTHONWARNINGS=ignore; \
	$(PYTHON_M) coverage combine --quiet && $(PYTHON_M) coverage html --quiet -d build/coverage/html && \
	$(PYTHON_M) coverage json --quiet -o build/coverage/report.json && \
	$(ENVIRONMENT)/bin/python scripts/report_coverage.py build/coverage/report.json && exit $$tested

chaos: $(DEV) ## Thousands of drill runs while everything around them is killed (ARGS="--jobs 500 --seed 7")
	@$(ENVIRONMENT)/bin/python tests/chaos.py $(ARGS)

chaos-hosts: $(DEV) ## The same on three hosts that lose power and network, with real trainings among the drills (RUNS=1000; needs root)
	@$(ENVIRONMENT)/bin/python tests/chaos_hosts.py $(ARGS)

chaos-promotions: $(DEV) ## An alias moved 1,000 times under 16 callers, then 50 swaps and the server's memory (ARGS="--swaps 10")
	@$(ENVIRONMENT)/bin/python tests/chaos_promotions.py $(ARGS)

chaos-searches: $(DEV) ## One search on 1, 2 and 4 workers while all is killed: the same trials (ARGS="--trials 40 --seed 7")
	@$(ENVIRONMENT)/bin/python tests/chaos_searches.py $(ARGS)

chaos-exact: $(DEV) ## Kill runs at every point, fill the disk at every write, and compare bytes (20 minutes with ARGS='-n 2')
	@$(PYTHON_M) pytest -m "chaos or not chaos" tests/integration/exactness $(ARGS)

fuzz-readers: $(DEV) ## 100,000 damaged data files through the readers, 500 of them through the command (ARGS="--files 1000")
	@$(ENVIRONMENT)/bin/python tests/mutations.py $(ARGS)

round-trips: $(DEV) ## Write 20,000 tables of each kind in every form and encoding and read them again (ROUND_TRIPS=1000)
	@ROUND_TRIPS=$${ROUND_TRIPS:-20000} $(PYTHON_M) pytest tests/unit/data/sources/test_round_trips.py $(ARGS)

bench: $(DEV) ## Speed and memory beside transformers' Trainer, a short form (table: build/benchmark.md)
	@$(PYTHON_M) benchmarks --rows 64 --pairs 3 --batches 2 --output build/benchmark.md $(ARGS)

test-gpu-kernels: $(DEV) ## Kernels for GPUs under Triton's interpreter, and compiled, without a GPU (downloads Triton once, 200 MB)
	@[ -d build/gpu-sites/triton ] || $(PYTHON_M) pip install --quiet --no-deps --target build/gpu-sites/triton triton==3.7.1
	@PYTHONPATH=$(CURDIR)/build/gpu-sites/triton $(PYTHON_M) pytest tests/unit/training/gpu_kernels \
	tests/integration/test_gpu_check.py $(ARGS)

gpu-check: $(RUNNING) ## What has to be seen on an NVIDIA GPU: precision, resume, memory, speed, in 400 s (build/gpu/table.md)
	@$(PYTHON_M) benchmarks.gpu_check --out build/gpu $(ARGS)

gpu-bench: $(RUNNING) ## Language models there beside TRL, Liger and Unsloth, those that are installed, in 330 s
	@$(PYTHON_M) benchmarks.gpu_check --out build/gpu --peers $(ARGS)

lock: ## Write the locked sets (requirements*.txt) anew from a clean environment
	@sh scripts/lock_requirements.sh

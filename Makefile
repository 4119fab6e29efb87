# Everything the project needs is put in .venv (the project) and .local (tools, engine, state of the local cloud).
# Overrides for the local cloud's template parameters: make up PARAMS="GpuEndpointUrl=http://127.0.0.1:9999"

PYTHON ?= python3
PARAMS ?=
UV := .local/tools/bin/uv
RUN := .venv/bin/python -m

.PHONY: help setup demo test proofs up down forget lint bench chaos build deploy clean

help:
	@echo "make demo    two stores' scrapes become images on the local cloud; ends with a contact sheet"
	@echo "make test    every test but the proofs (make lint: style and types)"
	@echo "make proofs  the guide word for word, restarts, and the fault matrix: whatever can be killed or fail is (10 minutes)"
	@echo "make up      start the local cloud and deploy to it (PARAMS=\"Name=value …\"); make down stops it,"
	@echo "             and the next make up goes on with what it held; make forget stops it and throws that away"
	@echo "make bench   the figures: time against the GPU's own, memory, cost"
	@echo "make chaos   50 runs of 60 products, whose processes are killed and whose providers fail at random (40 minutes)"
	@echo "make deploy  build and deploy to AWS (docs/deploy.md)"

setup: .venv/.made .local/engine/.made .local/sam/.made

demo: setup
	@$(RUN) local.demo

test: setup
	@$(RUN) pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

proofs: setup
	@$(RUN) pytest -m slow

up: setup
	@$(RUN) local.cloud up $(PARAMS)

down:
	@if [ -d .local ] && [ -x .venv/bin/python ]; then $(RUN) local.cloud down; else echo "The local cloud is not running."; fi

forget:
	@if [ -d .local ] && [ -x .venv/bin/python ]; then $(RUN) local.cloud forget; fi

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	@$(RUN) local.cloud validate

bench: setup
	@$(RUN) local.bench

chaos: setup
	@$(RUN) local.chaos --seeds 50

build: setup
	PATH="$(CURDIR)/.local/tools/bin:$$PATH" .local/sam/bin/python -m samcli build --config-env prod

deploy: build
	.local/sam/bin/python -m samcli deploy --config-env prod

clean: forget
	rm -rf .venv .local .aws-sam

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lookbook needs Python 3.11 or newer; say which: make PYTHON=python3.12 …")'
	@echo "Setting up (once) …"
	@$(PYTHON) -m venv .local/tools || (echo "Python cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1)
	@.local/tools/bin/pip --quiet --disable-pip-version-check install uv==0.13.8 2>/dev/null || .local/tools/bin/pip install uv==0.13.8

.venv/.made: $(UV) uv.lock pyproject.toml
	@$(UV) --quiet sync --frozen --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

# The engine and the SAM CLI pin libraries of their own, so each lives apart from the project.
.local/engine/.made .local/sam/.made: .local/%/.made: $(UV) local/%-requirements.txt
	@$(UV) --quiet venv --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .local/$*
	@$(UV) --quiet pip sync --compile-bytecode --python .local/$*/bin/python local/$*-requirements.txt
	@touch $@

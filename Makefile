# Every command a newcomer needs; each makes the environment by itself.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

# The tests start hundreds of processes; each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench config-docs protos clean

demo: $(READY)  ## export a real classifier, serve it, explain a photograph into demo-out/
	$(PY) -m examples.demo

test: $(READY)  ## every test
	$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## lint, types, contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	cd protos && ../$(VENV)/bin/buf lint
	$(VENV)/bin/hadolint Dockerfile

bench: $(READY)  ## speed and memory beside peers, into bench-out/, with a plot
	$(PY) -m bench
	$(PY) -m bench.plot

config-docs: $(READY)  ## write docs/configuration.md again
	$(PY) -m salience_service.config > docs/configuration.md

protos: $(READY)  ## generate the Python code of the contract again
	$(PY) -m tests.contract.generate protos

# Compiling every module of every package takes as long as all else; what is imported is enough.
$(READY): pyproject.toml constraints.txt requirements-no-deps.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(PY) -m pip install --quiet --no-compile --no-deps --requirement requirements-no-deps.txt
	touch $(READY)

clean:  ## forget the environment and everything made
	rm -rf $(VENV) demo-out bench-out models build

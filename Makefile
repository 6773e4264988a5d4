# Everything runs in .venv, which each target makes and fills as it needs. A second run reuses what is there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTS ?= tests

.PHONY: demo bench test test-deep test-tpu test-gpu notebooks lint docs docs-serve clean

demo: $(VENV)/.demo
	$(BIN)/python -m jaxconv demo

bench: $(VENV)/.benchmarks
	$(BIN)/python -m jaxconv bench --markdown bench.md --charts bench-charts

test: $(VENV)/.tests
	$(BIN)/python -m pytest -n logical --maxprocesses=8 $(TESTS)

test-deep: $(VENV)/.tests
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -n logical --maxprocesses=8 $(TESTS)

# XLA's compiler for TPUs, which needs none. In an environment of its own: with the compiler there JAX looks for a TPU.
test-tpu:
	$(MAKE) VENV=$(VENV)-tpu $(VENV)-tpu/.tpu
	JAX_PLATFORMS=cpu $(VENV)-tpu/bin/python -m pytest tests/test_tpu.py

# XLA's compiler for GPUs, which needs none either, though some gigabytes of NVIDIA's libraries. Where it cannot time its own
# kernels (Triton's) it takes some untried, and fails where they do not fit.
test-gpu:
	$(MAKE) VENV=$(VENV)-gpu $(VENV)-gpu/.gpu
	JAX_PLATFORMS=cpu XLA_FLAGS=--xla_gpu_enable_triton_gemm=false $(VENV)-gpu/bin/python -m pytest tests/test_gpu.py

notebooks: $(VENV)/.notebooks
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

# Warnings, broken links and anchors among them, are errors. The site is in build/site.
docs: $(VENV)/.docs
	$(BIN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.docs
	$(BIN)/python -m mkdocs serve

# $(VENV)/.NAME records that the extra NAME is installed as pyproject.toml asks for it.
$(VENV)/.%: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxconv needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-tpu $(VENV)-gpu $(VENV)-newest demo-output build dist .pytest_cache .ruff_cache .hypothesis

# The two commands of the README, and what CI runs. Every target makes the environment that it needs.
#
#   make demo   the whole way on this computer: data, plan, training in tmux, results
#   make test   lint and the whole test suite
#
# PYTHON=python3.12 chooses the interpreter, VENV=path the environment. Outside of this project's CI,
# TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu installs the small CPU build of PyTorch on Linux.
# TEST_WORKERS: tests wait for machines more than they compute, so that four of them keep two cores busy.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX_URL ?=
TEST_WORKERS ?= 4
BIN := $(VENV)/bin

.PHONY: demo test test-long lint format typecheck environment tools clean

demo: environment tools
	@$(BIN)/trainer synthesize --out .demo/data --size demo
	@trap : INT; $(BIN)/launch examples/demo.yaml --provider local --yes; code=$$?; \
	if [ $$code -eq 130 ]; then echo "come back: $(BIN)/launch logs -f demo · end it: $(BIN)/launch stop demo"; \
	else exit $$code; fi

test: environment tools lint
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

test-long: environment tools
	$(BIN)/python -m pytest -m long -n 2 --dist worksteal

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

environment: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt .ci/environment
	PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH_INDEX_URL="$(TORCH_INDEX_URL)" bash .ci/environment
	@touch $@

tools:
	@bash .ci/tools

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo

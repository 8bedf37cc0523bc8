# The two commands of the README, and what CI runs. Every target makes the environment that it needs.
#
#   make demo   the whole way on this computer: data, plan, training in tmux, results
#   make test   lint and the whole test suite
#
# PYTHON=python3.12 chooses the interpreter, VENV=path the environment. Outside of this project's CI,
# TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu installs the small CPU build of PyTorch on Linux.
# TEST_WORKERS: tests wait for machines more than they compute, so that four of them keep two cores busy.
# Bytecode is kept whatever PYTHONDONTWRITEBYTECODE says outside: thousands of processes would each compile the same.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX_URL ?=
TEST_WORKERS ?= 4
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-long lint format typecheck environment tools clean tests-compiled

demo: environment tools
	@$(BIN)/trainer synthesize --out .demo/data --size demo
	@trap : INT; $(BIN)/launch examples/demo.yaml --provider local --yes; code=$$?; \
	if [ $$code -eq 130 ]; then echo "come back: $(BIN)/launch logs -f demo · end it: $(BIN)/launch stop demo"; \
	else exit $$code; fi

# mypy computes on one core; meanwhile another compiles the tests, which else every worker would do for itself.
test: environment tools
	@$(MAKE) --no-print-directory -j 2 lint tests-compiled
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

tests-compiled: environment
	@$(BIN)/python -m pytest --collect-only -qq -p no:cacheprovider >/dev/null || : what is wrong is said by the tests

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

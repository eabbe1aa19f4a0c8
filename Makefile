# `make` lists the targets. Each makes the environment that it needs, in .venv.

PYTHON ?= python3
IMAGE ?= savedmodel-server
TAG ?= 2.21.0
PORT ?= 5000
SECONDS ?= 60
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install run test test-faults test-clients check fuzz fix bench bench-peers docker-build docker-run clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed ## make .venv and install what the server needs

run: .venv/.installed ## serve the models in ./model on http://127.0.0.1:5000
	@exec $(BIN)/python -m serving serve

test: .venv/.installed-dev ## run the tests
	$(BIN)/python -m pytest

test-faults: .venv/.installed-dev ## run the tests that kill, flood and corrupt, half an hour
	$(BIN)/python -m pytest -m faults

test-clients: .venv/.installed-dev .clients/kserve .clients/mlserver ## run the tests of clients that need environments of their own
	$(BIN)/python -m pytest -m clients tests/clients

check: .venv/.installed-dev ## check format, style, types, and versions with known holes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_requirements.py

fuzz: .venv/.installed-fuzz ## fuzz what reads bodies, SECONDS for each of its parts
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

fix: .venv/.installed-dev ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.installed-dev ## measure the server beside others
	$(BIN)/python -m bench

bench-peers: .venv/.installed-dev ## measure it beside other servers, each installed into bench/.envs
	$(BIN)/python -m bench --peers

docker-build: ## build the image
	docker build --build-arg TAG=$(TAG) --tag $(IMAGE) .

docker-run: docker-build ## run the image, published on 127.0.0.1:5000 only
	docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --publish 127.0.0.1:$(PORT):5000 \
		--env SERVING_ALLOW_ANONYMOUS=true $(DOCKER_ARGS) $(IMAGE)

clean: ## remove the environment and what tools left
	rm -rf .venv .clients .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.clients/%:
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check $* || (rm -rf $@; exit 1)

.venv/.installed: requirements.txt known-holes.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

.venv/.installed-fuzz: .venv/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3,<4'
	@touch $@

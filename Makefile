PY := .venv/bin/python

help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

setup:  ## install what is missing of everything, the tests' tools too: Debian packages, .venv
	@bin/setup

run:  ## start a server on port 6000 with 4 workers (more flags: ARGS="...")
	@bin/setup run
	@exec bin/forkchat -w 4 -p 6000 $(ARGS)

cluster:  ## start a cluster: MariaDB, Redis, nginx on port 8000, two hosts
	@bin/setup cluster
	@bin/cluster

test: setup  ## run the tests (pytest's arguments: ARGS="-k presence")
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: setup  ## break what can break, and see that no law is (ARGS="--minutes 30", or "--each")
	@$(PY) -m tests.faults $(ARGS)

sweep: setup  ## fail each statement and command in each way, and see that all is well again (ARGS="--minutes 10")
	@$(PY) -m tests.sweep $(ARGS)

kills: setup  ## kill chatcli after each key and at each of its steps, and see that nothing typed is lost
	@$(PY) -m tests.kills $(ARGS)

spoiled: setup  ## spoil what a server sends, each frame in each way, and see that the client goes on
	@$(PY) -m tests.spoiled $(ARGS)

fuzz: setup  ## send the parsers and a server what nobody would think of (ARGS="--runs 1000000")
	@$(PY) -m tests.fuzz $(ARGS)

bench: setup  ## measure speed, overload, floods, crowds, storms, the screen (some of them: ARGS="speed storm")
	@$(PY) -m tests.bench $(ARGS)

figures: setup  ## take the last figures into docs/speed.md
	@$(PY) -m tests.bench.page

lint: setup  ## check format, style, types and English
	@$(PY) -m ruff format --check
	@$(PY) -m ruff check
	@$(PY) -m mypy
	@$(PY) -m tests.english

format: setup  ## format the code, and repair what ruff can
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix

locale: setup  ## bring the texts of chatcli into its translations, and compile these
	@$(PY) -m tests.locale_files

screens: setup  ## make docs/screens.md from a real run of the client
	@$(PY) -m tests.screens

.PHONY: help setup run cluster test soak sweep kills spoiled fuzz bench figures lint format locale screens

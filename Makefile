# Needs python3 (3.11 to 3.13) with venv. The first call installs into .venv, later ones are quick.
PYTHON ?= python3
PIP = .venv/bin/python -m pip install --disable-pip-version-check
RUN = .venv/bin/python -m

.PHONY: install train test test-browser quick lint bench clean

train: install  ## train the paper's recipe on the embedded photos
	$(RUN) qc_lightning.train

test: .venv/test  ## every test that needs nothing but Python
	$(RUN) pytest -m "not browser"

test-browser: .venv/test  ## the pages in a headless Chromium, which has to be installed
	$(RUN) pytest -m browser

quick: .venv/test  ## the tests of under two minutes
	$(RUN) pytest -m "not slow and not browser"

lint: .venv/test  ## style and types
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

bench: .venv/test  ## how fast training and prediction are, beside what people would write instead; about ten minutes
	.venv/bin/python benchmarks/speed.py
	.venv/bin/python benchmarks/prediction.py

install: .venv/run

.venv/run: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) -e ".[elpv]"
	touch $@

.venv/test: .venv/run
	$(PIP) -e ".[elpv,tensorboard,dev]"
	touch $@

clean:  ## forget the environment
	rm -rf .venv

# Needs python3 (3.11 to 3.13) with venv. The first call installs into .venv, later ones are quick.
PYTHON ?= python3
PIP = .venv/bin/python -m pip install --disable-pip-version-check
RUN = .venv/bin/python -m
# a process a core, each with one thread; tests of one file share their trained runs
TESTS = OMP_NUM_THREADS=1 $(RUN) pytest -n auto --dist loadfile

.PHONY: install train test test-browser test-lean test-cluster quick lint bench torture bundle clean

train: install  ## train the paper's recipe on the embedded photos
	$(RUN) qc_lightning.train

test: .venv/test  ## every test that needs nothing but Python
	$(TESTS) -m "not browser and not lean and not cluster"

test-browser: .venv/test  ## the pages in a headless Chromium, which has to be installed
	$(RUN) pytest -m browser

test-lean: .venv/test  ## what the line gets, in an environment of its own; pip fetches it
	$(RUN) pytest -m lean -rP tests/test_lean.py

test-cluster:  ## engine=ray and sweeps on a real Ray cluster of this machine, in an environment of its own; pip fetches it
	test -d .venv-cluster || $(PYTHON) -m venv .venv-cluster
	.venv-cluster/bin/python -m pip install --disable-pip-version-check -e ".[ray,s3,parquet,dev]" "aiobotocore[boto3]" "moto[server]"
	OMP_NUM_THREADS=1 .venv-cluster/bin/python -m pytest -m cluster -rP

quick: .venv/test  ## the tests of under two minutes
	$(TESTS) -m "not slow and not browser and not lean and not cluster"

lint: .venv/test  ## style and types
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) mypy benchmarks

bench: .venv/test  ## how fast training and prediction are, beside what people would write instead; about ten minutes
	.venv/bin/python benchmarks/speed.py
	.venv/bin/python benchmarks/prediction.py

MODEL ?= $(lastword $(sort $(wildcard outputs/*/*/export/inspector.onnx)))

bundle: install  ## make bundle MODEL=inspector.onnx [TARGET="win_amd64 3.12"]: dist/bundle for a PC without a network
	$(RUN) qc_lightning.deployment.bundle $(MODEL) dist/bundle $(TARGET)

torture: .venv/test  ## broken files, kills, full disks, many photos and jobs for hours, and a table of what became of them
	.venv/bin/python tests/torture.py

install: .venv/run

.venv/run: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) -e ".[elpv]"
	touch $@

.venv/test: .venv/run
	$(PIP) -e ".[elpv,tensorboard,dev]"
	touch $@

clean:  ## forget the environment
	rm -rf .venv .venv-cluster

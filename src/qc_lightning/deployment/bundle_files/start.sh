#!/bin/sh
# Installs into ./env once, checks the model on this machine, serves it. Needs Python, no network.
# Settings of `qc-lightning serve` may follow: ./start.sh port=8080
set -eu
cd "$(dirname "$0")"
if [ ! -e env/installed ]; then
    "${PYTHON:-python3}" -m venv env
    env/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps wheels/*.whl
    touch env/installed
fi
env/bin/python -m qc_lightning verify model=inspector.onnx
exec env/bin/python -m qc_lightning serve model=inspector.onnx "$@"

@echo off
rem Installs into .\env once, checks the model on this machine, serves it. Needs Python, no network.
rem Settings of `qc-lightning serve` may follow: start.cmd port=8080
cd /d "%~dp0"
if exist env\installed goto installed
py -m venv env || exit /b 1
for %%w in (wheels\*.whl) do env\Scripts\python -m pip install --quiet --disable-pip-version-check --no-index --no-deps "%%w" || exit /b 1
type nul > env\installed
:installed
env\Scripts\python -m qc_lightning verify model=inspector.onnx || exit /b 1
env\Scripts\python -m qc_lightning serve model=inspector.onnx %*

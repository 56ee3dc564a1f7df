"""Who reaches the service: tokens, TLS, ports, and mistakes at the start."""

# ruff: noqa: F811  # a fixture of another file

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qc_lightning import serve
from test_service import TOKEN, Server, model  # noqa: F401  # a fixture

Refused = Callable[..., None]


def test_strangers_need_the_token(model: Path) -> None:
    server = Server(f"model={model}", QC_LIGHTNING_TOKEN=TOKEN)
    try:
        assert server.client.get("/ready").status_code == 200
        assert server.client.get("/metrics").status_code == 401
        assert server.client.post("/v1/inspect", content=b"x").status_code == 401
        wrong = {"authorization": "Bearer " + TOKEN[:-1]}
        assert server.client.get("/v1/model", headers=wrong).status_code == 401
        assert server.client.get("/v1/model", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem, key.pem and locked.pem, the same key with a password."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    lock = "openssl pkey -in key.pem -aes256 -passout pass:secret -out locked.pem"
    for command in (f"{make} -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem", lock):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_encrypted_and_reached_from_elsewhere(model: Path, certificate: Path) -> None:
    (certificate / "token.txt").write_text(f"{TOKEN}\n")
    pems = (f"tls_cert={certificate / 'cert.pem'}", f"tls_key={certificate / 'key.pem'}")
    for more, scheme in ((pems, "https"), ((), "http")):
        server = Server(
            f"model={model}", "host=0.0.0.0", f"token_file={certificate / 'token.txt'}", *more, verify=certificate
        )
        try:
            assert server.url.startswith(f"{scheme}://0.0.0.0:")
            assert any("travel unencrypted" in line for line in server.lines) == (scheme == "http")
            assert server.client.get("/v1/model").status_code == 401
            right = {"authorization": f"Bearer {TOKEN}", "host": "line-3.factory.example"}
            assert server.client.get("/v1/model", headers=right).status_code == 200
        finally:
            assert server.stop() == 0


@pytest.fixture
def refused(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Refused:
    """Call `qc-lightning serve ARGS` and expect one line with these words."""

    def check(words: str, *arguments: str) -> None:
        code = call(serve.main, "port=0", *arguments)
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n"), words in err) == (2, "", 1, True), err

    return check


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["host=0.0.0.0"], "token_file="),
        (["tls_cert=a.pem"], "expected both or none"),
        (["model=missing.onnx"], "missing.onnx"),
        (["prot=1"], "did you mean port?"),
        (["queue=0"], "1 to 10000"),
        (["log="], "log: expected a value, got none"),
        (["keep=all", "log={folder}/l.sqlite", "photos={folder}/a.txt"], "photos: cannot use"),
        (["log={folder}/l.sqlite", "csv={folder}/pipe"], "not a regular file"),
        (["log={folder}/l.sqlite", "camera=genicam:{folder}/none.cti"], "there is none at"),
        (["host=300.1.1.1", "token_file={folder}/token.txt"], "give another host="),
        (["token_file={folder}/other.txt"], "ASCII characters, got 20, some of them others"),
        (["keep=all", "log=l.sqlite", "keep_gigabytes=inf"], "at most 1000000"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, model: Path, refused: Refused, tmp_path: Path) -> None:
    for name, text in (("a.txt", "a"), ("token.txt", TOKEN), ("other.txt", "ß" * 20)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    os.mkfifo(tmp_path / "pipe")
    given = [argument.replace("{folder}", str(tmp_path)) for argument in arguments]
    refused(words, *(given if given[0].startswith("model=") else [f"model={model}", *given]))


@pytest.mark.parametrize("key", ["locked.pem", "none.pem"])
def test_a_key_that_cannot_be_used_is_one_line(key: str, model: Path, certificate: Path, refused: Refused) -> None:
    pems = (f"tls_cert={certificate / 'cert.pem'}", f"tls_key={certificate / key}")
    refused("tls_cert, tls_key: cannot use them", f"model={model}", *pems)


def test_a_port_in_use(model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "qc_lightning.serve", f"port={port}", f"model={model}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"error: port={port}: cannot listen on 127.0.0.1" in done.stderr

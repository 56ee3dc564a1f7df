"""`engine=ray` from and to object storage, with the permissions of a user."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from predictions import forty_photos, probability_of
from qc_lightning.core.ray_environment import prepare_ray

prepare_ray()
pytest.importorskip("ray")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
Predict = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return forty_photos(tmp_path / "photos")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, photos: Path) -> Iterator[str]:
    """A local S3 server; its user may list all of s3://photos but use only what is below a/."""
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = [f"{folder}/{path.name}" for folder in "ab" for path in sorted(photos.iterdir())[:5]]
    calls = 1 + len(names) + 3  # before permissions apply
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(calls + 1)}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        keys = {"aws_access_key_id": "root", "aws_secret_access_key": "root"}
        s3, iam = (boto3.client(name, **keys) for name in ("s3", "iam"))
        s3.create_bucket(Bucket="photos")
        for name in names:
            s3.put_object(Bucket="photos", Key=name, Body=(photos / name.partition("/")[2]).read_bytes())
        allowed = [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"},
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::photos/a/*"},
        ]
        iam.create_user(UserName="line")
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        iam.put_user_policy(UserName="line", PolicyName="line", PolicyDocument=policy)
        key = iam.create_access_key(UserName="line")["AccessKey"]
        iam.list_users()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        yield "s3://photos"
    finally:
        server.kill()
        server.wait()


def test_photos_in_object_storage_get_verdicts_in_object_storage(
    bucket: str, run_folder: Path, predict: Predict, photos: Path, tmp_path: Path
) -> None:
    code, _, errors = predict(f"source={bucket}", "engine=ray", "output=out")
    assert (code, errors.count("\n")) == (2, 1)
    assert "5 of 10 photos cannot be read, they are in s3://photos/b (no right to read it)" in errors
    code, _, errors = predict(f"source={bucket}/a", "engine=ray", "output=s3://photos/b/out", "ray.address=local")
    assert code == 2
    assert "cannot write s3://photos/b/out/index.json: no right to read it" in errors
    command = [sys.executable, "-m", "qc_lightning.predict", f"run={run_folder}", f"source={bucket}/a", "engine=ray"]
    done = subprocess.run(
        [*command, "ray.address=local", f"output={bucket}/a/out.jsonl"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    import fsspec

    system = fsspec.filesystem("s3")
    (part,) = system.glob("photos/a/out.jsonl/part-*.jsonl")
    found = {row["path"]: row for row in map(json.loads, system.cat_file(part).decode().splitlines())}
    for number in range(5):
        row = found[f"s3://photos/a/{number:02d}.png"]
        assert row["probability"] == pytest.approx(probability_of(number * 6), rel=1e-4)
        assert row["sha256"] == hashlib.sha256((photos / f"{number:02d}.png").read_bytes()).hexdigest()

"""A bucket whose keys stand in its URI: every job works on it, and nothing that a job leaves behind holds the keys."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
import ray
from pyarrow import fs

from jobs.train import TrainCommand, run
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from tests.jobs.test_train import TINY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
SECRETS = ("AKIANOBODY", "SECRETsecret/WITH+letters", "OTHERsecret/WITH+letters", "PASSWORDofmlflow")
FORMS = {form.encode() for secret in SECRETS for form in (secret, quote(secret), quote(secret, safe=""))}
FORMS |= {form.replace(b"%", b"%25") for form in FORMS}  # quoted once more, as within another URI


def with_keys(uri: str, secret: str) -> str:
    return uri.replace("s3://", f"s3://{SECRETS[0]}:{quote(secret, safe='')}@")


def job(name: str, *options: str) -> str:
    """Runs a job as a user does, on the cluster of these tests; returns all that it says."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    environment |= {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", f"jobs.{name}", *options]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def refusal(arguments: list[str]) -> str:
    with pytest.raises(InputError) as refused:
        run(TrainCommand.parse(arguments))
    return str(refused.value)


def leaks(where: str, content: bytes) -> list[str]:
    return [f"{where}: {form.decode()}" for form in FORMS if form in content]


def test_keys_in_a_uri_are_left_nowhere(s3, tiny_recogniser, tmp_path):
    bare = str(StoragePath(s3) / f"keys-{tmp_path.name}")
    data, rotated = with_keys(bare, SECRETS[1]), with_keys(bare, SECRETS[2])
    runs, tracking = tmp_path / "runs", f"http://user:{SECRETS[3]}@127.0.0.1:9"
    training = ["--training.batch-size=4", "--training.validate-every=4", "--training.checkpoint-every=2", "--training.log-every=2"]
    training += [
        "--training.precision=fp32",
        f"--runs={runs}",
        *(f"--model.{key.replace('_', '-')}={value}" for key, value in TINY.items()),
    ]
    corpus = [
        "--fingerspelling.train=16",
        "--fingerspelling.dev=4",
        "--fingerspelling.test=4",
        "--shard-size=8",
        "--workers=1",
        "--describe",
    ]

    said = {"prepare": job("prepare", f"--out={data}", *corpus)}
    said["the same again"] = job("prepare", f"--out={rotated}", *corpus)
    assert f"dataset: {bare}" in said["prepare"]
    said["train"] = job("train", f"--data={data}", "--name=t", "--training.steps=4", *training)
    (runs / "t" / "model").rename(tmp_path / "model")
    said["resumed with other keys"] = job("train", f"--data={rotated}", "--name=t", "--training.steps=4", *training)
    judging = [
        f"--model={runs}/t/model",
        f"--back-translator={tiny_recogniser}",
        "--clips=4",
        "--shown=1",
        "--seeds=1",
        f"--out={tmp_path}/judged",
    ]
    said["evaluate"] = job("evaluate", f"--data={data}", *judging, "--steps=1", "--baselines=mean pose", f"--tracking={tracking}")
    assert "MLflow at http://127.0.0.1:9 does not answer" in said["evaluate"]
    said |= {
        wrong: refusal([*wrong.split(), f"--runs={tmp_path}/none"])
        for wrong in (
            f"--data={data}&secret_key={quote(SECRETS[1], safe='')}",
            f"--data=s3://AKIANOBODY:{SECRETS[1]}@bucket/x",
            f"--data={data} --name={data}",
            f"--data={with_keys(bare, SECRETS[1]).replace('bucket', 'nothing')}",
        )
    }

    found = [leak for text in said.values() for leak in leaks(text, text.encode())]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"recipe.json", "recipe.yaml", "dataset.json", "mlflow.db", "config.json", "results.json"} <= {path.name for path in files}
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    for path in [*files, *(path for path in logs.rglob("*") if path.is_file())]:
        found += leaks(str(path), path.read_bytes())
    store, folder = fs.FileSystem.from_uri(bare)
    shards = StoragePath(bare)
    for name in shards.files():
        found += leaks(name, (shards / name).read_bytes())
        if name.endswith(".parquet"):  # whose pages are compressed
            table = pq.read_table(f"{folder}/{name}", filesystem=store)
            found += leaks(name, repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode())
    assert not found

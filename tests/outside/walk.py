"""Takes the system from outside through everything, from its training to its service, and prints what it saw as JSON.

python -m tests.outside.walk DATASET MS2SL-CHECKPOINT RECOGNISER FOLDER    (with tests/outside/outside_package on PYTHONPATH)
"""

import json
import sys
from pathlib import Path

import mlflow
import numpy as np
import requests
import yaml
from ray import serve

from benchmarks.service import reserved_port
from jobs import evaluate, produce, train, tune
from jobs.cli import start_ray
from jobs.sweep.command import TuneCommand
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.sweep.trial_store import TrialStore
from ms2sl.systems.registry import load_producer
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import train as train_locally
from serve.app import build

data, other, reader, out = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
OFTEN = "--training.validate-every 4 --training.checkpoint-every 4 --training.log-every 2"
TRAINING = f"{OFTEN} --training.batch-size 8 --training.precision fp32"


def trained(steps: int) -> Path:
    flags = f"--data {data} --runs {out} --name outside --task recurrence --recurrence.width 16 --training.steps {steps} {TRAINING}"
    return train.run(train.TrainCommand.parse(flags.split()))


def produced(model: Path, folder: Path, *flags: str) -> int:
    words = out / "words.txt"
    words.write_text("ab\ncab\n")
    arguments = ["--model", str(model), "--utterances", str(words), "--out", str(folder), *flags]
    return produce.run(produce.ProduceCommand.parse(arguments))


def refused(*flags: str) -> str:
    try:
        produced(model, out / "refused", *flags)
    except InputError as error:
        return str(error)


def smoothed(weight: float) -> dict[str, float]:
    """The last losses of a few steps of MS2SL with a term from outside."""
    every = [f"--training.{name}-every=2" for name in ("log", "validate", "checkpoint")]
    command = train.TrainCommand.parse([f"--losses.smoothness={weight}", "--training.steps=4", "--model.width=16", *every])
    reporter, dataset = LocalReporter(), Dataset(data)
    task, plan = command.make_task(dataset, None), EpochPlan(dataset.shards("train"), 8, 0)
    train_locally(task, lambda step: local_batches(plan, task.collate, step), command.training, reporter)
    return reporter.history[-1]


start_ray(num_cpus=4, object_store_memory=256 * 2**20)
model, saw = trained(4), {}
model = trained(8)
saw["smoothed"], saw["not smoothed"] = smoothed(3.0), smoothed(0.0)
saw["recipe"] = json.loads((out / "outside" / "recipe.json").read_text())
saw["status"] = produced(model, out / "signs", "--restlessness", "0.02", "--seed", "3")
files = [from_bytes((out / "signs" / "poses" / f"{n:06d}.pose").read_bytes(), HOLISTIC_49X2).poses for n in (0, 1)]
saw["frames"] = [poses.n_frames for poses in files]
saw["settings"] = json.loads((out / "signs" / "settings.json").read_text())
saw["refused"] = refused("--steps", "4")

arguments = (
    f"--data {data} --model {model} --others ms2sl={other} --back-translator {reader} --out {out}/judged --clips 3 --seeds 1 --shown 1"
)
results = evaluate.run(evaluate.EvaluateCommand.parse([*arguments.split(), "--baselines", "mean pose", "--restlessness", "0.01"]))
saw["judged"] = [result.label for result in results]
saw["stillness"] = [result.value("stillness") for result in results]
saw["titles"] = (out / "judged" / "results.md").read_text().count(" still ")

space = out / "space.yaml"
space.write_text(yaml.safe_dump({"recurrence": {"width": {"choice": [8, 16]}}, "sampling": {"restlessness": {"choice": [0.0, 0.1]}}}))
flags = f"--task recurrence --data {data} --space {space} --runs {out} --name sweep --back-translator {reader}"
flags += f" --search grid --clips 3 --num-evals 1 --objectives quality {TRAINING} --training.steps 2"
tune.run(TuneCommand.parse(flags.split()))
saw["trials"] = [trial.outcome for trial in TrialStore(out / "sweep" / "trials").trials()]

mlflow.set_tracking_uri(f"sqlite:///{out}/mlflow.db")
mlflow.set_registry_uri(f"sqlite:///{out}/mlflow.db")
(row,) = mlflow.pyfunc.load_model("models:/recurrence@candidate").predict(["cab"], params={"restlessness": 0.02, "seed": 3})
alone = load_producer(model, options={"restlessness": 0.02}).produce([Utterance("cab", text="cab")], seed=3)[0]
saw["logged"] = bool(np.allclose(row["joints"], alone.joints, atol=1e-5))

with reserved_port() as port:
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build({"model": str(model), "sampling.restlessness": "0.02", "precision": "fp32", "min_replicas": "2"}))
    url = f"http://127.0.0.1:{port}"
    asked = {"text": "cab", "seed": 3}
    answer = requests.post(f"{url}/v1/signs", json=asked, headers={"accept": "application/json"}, timeout=60).json()
    saw["served"] = bool(np.allclose(answer["frames"], alone.joints, atol=2e-3))
    lines = [json.loads(line) for line in requests.post(f"{url}/v1/signs/stream", json=asked, timeout=60).text.splitlines()]
    saw["streamed"] = [len(line["frames"]) for line in lines if line["type"] == "frames"]
    saw["unknown option"] = requests.post(f"{url}/v1/signs", json=asked | {"steps": 4}, timeout=60).json()["detail"]
    saw["beyond the limit"] = requests.post(f"{url}/v1/signs", json=asked | {"restlessness": 0.9}, timeout=60).json()["detail"]
    saw["described"] = requests.get(f"{url}/v1/model", timeout=60).json()["sampling"]
    saw["openapi"] = "restlessness" in requests.get(f"{url}/openapi.json", timeout=60).text
    serve.shutdown()
print(json.dumps(saw))

"""A small training for faults to disturb, and what became of it beside one that nothing disturbed."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mlflow
from safetensors.torch import load_file

from benchmarks.command import Command, Training
from benchmarks.raylets import Raylets
from jobs.outboxes import outboxes
from ms2sl.io.storage import StoragePath

Row = tuple[str, ...]
STEPS, EVERY, INTERVAL, TROUBLE = 240, 5, 20, 50  # of a training, between reports, between checkpoints, and when the fault comes
CLIPS = {"train": 40, "dev": 12, "test": 12}
SHAPE = {"width": 32, "heads": 2, "encoder-layers": 1, "denoiser-layers": 1, "embedding": 8}
TRAINING = {"steps": STEPS, "batch-size": 8, "log-every": EVERY, "checkpoint-every": INTERVAL, "validate-every": STEPS, "precision": "fp32"}
TRAIN = ("-m", "jobs.train")
EVERY_TIME = re.compile(".*Set ray log level|$")  # lines of any job
LONGEST = 140  # letters of a line that a terminal says, in the table


class Place:
    """Where all of it lies, and the cluster."""

    def __init__(self, folder: Path, raylets: Raylets):
        self.folder, self.raylets = folder, raylets
        self.runs, self.tracking = f"{folder}/runs", f"sqlite:///{folder}/mlflow.db"
        self.undisturbed = folder / "runs" / "undisturbed" / "model"
        self.shape = [f"--model.{key}={value}" for key, value in SHAPE.items()]

    def begin(self) -> None:
        """Starts the cluster, prepares data, and trains undisturbed, if that has not been done there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.raylets.start()
        if self.undisturbed.exists():
            return
        clips = [f"--fingerspelling.{split}={number}" for split, number in CLIPS.items()]
        prepare = ["-m", "jobs.prepare", f"--out={self.folder}/data", "--shard-size=10", *clips]
        for command in (Command(prepare, self.folder / "prepare.log"), self._command("undisturbed")):
            self.start(command)
            command.finish()

    def start(self, command: Command) -> None:
        command.start(RAY_ADDRESS=self.raylets.address)

    def _command(self, name: str, *options: str, program: Sequence[str] = TRAIN, runs: str = "", tracking: str = "") -> Training:
        runs = runs or self.runs
        flags = ["--workers=2", *self._flags(name, runs, tracking or self.tracking)]
        flags += self.shape
        flags += [f"--training.{key}={value}" for key, value in TRAINING.items()]
        outbox = outboxes(StoragePath(runs) / name) / "mlflow.jsonl"
        return Training([*program, *flags, *options], self.folder / f"{name}.log", outbox)

    def _flags(self, name: str, runs: str, tracking: str) -> list[str]:
        return [f"--data={self.folder}/data", f"--runs={runs}", f"--name={name}", f"--tracking={tracking}", "--no-candidate"]

    def trained(self, name: str, *options: str) -> Path:
        """The model of a training with these options, which is trained if it is not there."""
        model = self.folder / "runs" / name / "model"
        if not model.exists():
            command = Command([*TRAIN, *self._flags(name, self.runs, self.tracking), *options], self.folder / f"{name}.log")
            self.start(command)
            command.finish()
        return model

    @contextmanager
    def training(self, name: str, *options: str, **places) -> Iterator[Training]:
        """One that has come so far that a fault may come; it is over with the context."""
        training = self._command(name, *options, **places)
        self.start(training)
        try:
            training.reaches(TROUBLE)
            yield training
        finally:
            training.kill()

    def row(self, what: str, training: Training, since, runs: str = "", tracking: str = "") -> Row:
        """Of a training that has come to its end in spite of what happened then."""
        name = training.log.stem
        folder, (steps, seconds) = StoragePath(runs or self.runs) / name, training.cost(since)
        told = metrics(folder, tracking or self.tracking)
        said = shown(what, training.said(since), self.folder)
        return (name, what, f"{steps}", f"{seconds:.0f}", said, self.weights(folder), told, f"{os.getloadavg()[0]:.0f}")

    def weights(self, folder: StoragePath) -> str:
        with (folder / "model").reading() as model:
            one, other = (load_file(Path(each) / "model.safetensors") for each in (self.undisturbed, model))
        apart, size = (
            sum(float(each.double().square().sum()) for each in tensors) for tensors in ([one[k] - other[k] for k in one], one.values())
        )
        return f"{100 * (apart / size) ** 0.5:.1g} % apart" if apart else "equal"


def shown(what: str, said: Sequence[str], folder: Path) -> str:
    """Lines that a terminal says when something happens, as a cell of a table; also printed."""
    lines = [line.replace("|", "/").replace(str(folder), "") for line in said if not EVERY_TIME.match(line)]
    print(f"{what}:", *lines, sep="\n    ", flush=True)
    return "<br>".join(line[:LONGEST] for line in lines) or "nothing"


def metrics(folder: StoragePath, tracking: str) -> str:
    """Whether MLflow has those of every report, and the status of the run."""
    client, run = mlflow.MlflowClient(tracking), (folder / "mlflow_run_id").read_text()
    lacking = set(range(EVERY, STEPS + 1, EVERY)) - {metric.step for metric in client.get_metric_history(run, "loss")}
    return f"{f'{len(lacking)} lack' if lacking else 'all'}, {client.get_run(run).info.status}"

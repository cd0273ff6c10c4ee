"""Trains the system from outside that has two stages, in all ways, produces from it, and prints what it saw as JSON.

python -m tests.outside.walk_stages DATASET FOLDER    (with tests/outside/outside_package on PYTHONPATH)
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import mlflow
import torch
from safetensors.torch import load_file, save_file

from jobs import produce, train
from jobs.cli import start_ray
from jobs.sweep.command import TuneCommand, open_space
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.systems.registry import load_producer
from ms2sl.training.checkpoint import fingerprint, read_card

data, out, saw = sys.argv[1], Path(sys.argv[2]), {}
EACH = "--codes.{0}.training.{1}-every {2}"
OFTEN = [EACH.format(stage, what, 4) for stage in ("tokenizer", "prior") for what in ("log", "validate", "checkpoint")]
SMALL = [f"--codes.{stage}.training.batch-size 8 --codes.{stage}.training.precision fp32" for stage in ("tokenizer", "prior")]


def flags(name: str, *more: str, tokenizer: int = 8, prior: int = 40) -> list[str]:
    steps = f"--codes.tokenizer.training.steps {tokenizer} --codes.prior.training.steps {prior}"
    return " ".join([f"--data {data} --runs {out} --task codes --name {name}", steps, *OFTEN, *SMALL, *more]).split()


def trained(name: str, *more: str, **steps: int) -> tuple[Path, str]:
    """The folder of the model, and what was printed."""
    with redirect_stdout(StringIO()) as said:
        model = train.run(train.TrainCommand.parse(flags(name, *more, **steps)))
    return model, said.getvalue()


def refused(name: str, *more: str, **steps: int) -> str:
    try:
        trained(name, *more, **steps)
    except InputError as error:
        return str(error)


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def signed(model: Path):
    return torch.from_numpy(load_producer(model).produce([Utterance("cab", text="cab")], seed=0)[0].joints)


saw["unknown"] = refused("whole", "--stage decoder")
saw["of one stage"] = refused("whole", "--task ms2sl --stage prior")
saw["general training"] = refused("whole", "--training.steps 3")
saw["from for both"] = refused("whole", "--from runs/x/model")
saw["too early"] = refused("whole", "--stage prior")
saw["not before"] = refused("whole", "--stage tokenizer --earlier prior=x")
saw["left behind"] = sorted(path.name for path in out.iterdir())

command = [sys.executable, "-m", "jobs.train", *flags("whole")]
driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
while not list((out / "whole" / "prior").glob("train/step-*/model.safetensors")):
    assert driver.poll() is None
    time.sleep(0.01)
driver.send_signal(signal.SIGINT)
saw["interrupted"] = [driver.communicate()[1].splitlines()[-1], driver.returncode, (out / "whole" / "model").exists()]
start_ray(num_cpus=4, object_store_memory=256 * 2**20)
before = (out / "whole" / "tokenizer" / "model" / "model.safetensors").stat().st_mtime_ns
whole, saw["resumed"] = trained("whole")
tokenizer, prior = out / "whole" / "tokenizer" / "model", out / "whole" / "prior" / "model"
saw["not trained again"] = (tokenizer / "model.safetensors").stat().st_mtime_ns == before
alone, _ = trained("alone", f"--stage prior --earlier tokenizer={tokenizer}")
saw["as if nothing had happened"] = same(weights(whole), weights(alone))
saw["folders"] = sorted(path.name for path in (out / "whole").iterdir())
saw["again"] = trained("whole")[1].splitlines()
saw["published"] = fingerprint(whole) == fingerprint(prior)
saw["recipes"] = {name: json.loads((out / "whole" / name / "recipe.json").read_text()) for name in ("", "tokenizer", "prior")}
saw["cards"] = {
    model.parent.name: read_card(model).model_dump(mode="json", include={"kind", "model", "recipe"}) for model in (tokenizer, whole)
}
saw["steps"] = [saw["recipes"][stage]["training"]["steps"] for stage in ("tokenizer", "prior")]
inside = {name.removeprefix("tokenizer."): tensor for name, tensor in weights(whole).items() if name.startswith("tokenizer.")}
saw["frozen"] = same(inside, weights(tokenizer))

other_tokenizer, _ = trained("other", "--stage tokenizer --codes.tokenizer.training.seed 1")
other, _ = trained("other", "--stage prior")
own = {name: tensor for name, tensor in weights(other).items() if not name.startswith("tokenizer.")}
saw["learned other codes"] = not all(torch.equal(tensor, weights(whole)[name]) for name, tensor in own.items())
saw["other prior"] = refused("whole", f"--stage prior --earlier tokenizer={other_tokenizer}")
saw["longer tokenizer"] = refused("whole", tokenizer=12)
saw["other settings"] = refused("whole", "--codes.prior.model.width 8")
saw["shorter"] = refused("whole", tokenizer=4)
longer, saw["longer prior"] = trained("whole", "--stage prior", prior=44)
saw["from another tokenizer"] = refused("tuned", f"--stage prior --from {other} --earlier tokenizer={tokenizer}")
tuned, _ = trained(
    "tuned", f"--stage prior --from {other} --earlier tokenizer={other_tokenizer}", "--codes.prior.training.learning-rate 1e-30"
)
saw["tuned"] = all(torch.allclose(tensor, weights(other)[name], atol=1e-6) for name, tensor in weights(tuned).items())
saw["tuned from"] = read_card(tuned).recipe["from"]["weights"] == fingerprint(other)
saw["whole into a stage"] = refused("tuned2", f"--stage tokenizer --from {other}")
saw["forgotten"] = [refused("other", f"--overwrite --stage prior --from {out}/other/prior/model"), (out / "other" / "prior").exists()]

(out / "words.txt").write_text("ab\ncab\n")
arguments = ["--utterances", str(out / "words.txt"), "--out", str(out / "signs"), "--model"]
saw["produced"] = produce.run(produce.ProduceCommand.parse([*arguments, str(whole)]))
try:
    produce.run(produce.ProduceCommand.parse([*arguments, str(tokenizer)]))
except InputError as error:
    saw["a stage alone"] = str(error)
copied, tampered = out / "copied", out / "tampered"
shutil.copytree(whole, copied)
changed = {name: tensor * 2 if name == "tokenizer.codebook" else tensor for name, tensor in weights(whole).items()}
shutil.copytree(whole, tampered)
save_file(changed, tampered / "model.safetensors")
made = signed(whole)
(out / "whole").rename(out / "hidden")
saw["self-contained"] = torch.equal(signed(copied), made)
saw["depends on the tokenizer"] = float((signed(tampered) - made).abs().max())

mlflow.set_tracking_uri(f"sqlite:///{out}/mlflow.db")
runs = [run for run in mlflow.search_runs(experiment_names=["ms2sl"], output_format="list") if run.info.run_name.startswith("whole/")]
saw["mlflow"] = sorted([run.info.run_name, run.data.tags["task"], run.data.tags["stage"], run.info.status] for run in runs)
prior_run = next(run for run in runs if run.info.run_name == "whole/prior")
saw["mlflow origin"] = prior_run.data.params["earlier.tokenizer.weights"]
saw["logged"] = len(mlflow.pyfunc.load_model("models:/codes@candidate").predict(["cab"])[0]["joints"])
try:
    TuneCommand.parse(["--task", "codes", "--data", data]).settled(open_space("loss_weights")[0])
except InputError as error:
    saw["sweep"] = str(error)
print(json.dumps(saw))

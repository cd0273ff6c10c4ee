"""``--from``: a run that begins with the weights of another model."""

import shutil
from pathlib import Path

import mlflow
import pytest
import torch
import yaml
from safetensors.torch import load_file

from jobs import ablate, tune
from jobs.runs import check_run_identity, read_recipe
from jobs.sweep.command import TuneCommand, open_space
from jobs.train import TrainCommand, check, run
from ms2sl.corpora.fingerspelling import Fingerspelling, FingerspellingConfig
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.systems.ms2sl import task as ms2sl
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import fingerprint, publish, read_card
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import train
from tests.conftest import prepare

TINY = {"width": 16, "heads": 2, "encoder_layers": 1, "denoiser_layers": 1, "embedding": 8}
STILL = {"steps": 2, "batch_size": 4, "learning_rate": 1e-30, "weight_decay": 0, "precision": "fp32"}  # which moves nothing


@pytest.fixture(scope="module")
def other_dataset(tmp_path_factory):
    """Signing of other words."""
    corpus = Fingerspelling(FingerspellingConfig(train=12, dev=4, test=2, seed=7))
    return prepare(corpus, tmp_path_factory.mktemp("other"))


@pytest.fixture
def command(tiny_dataset, tiny_checkpoint, tmp_path):
    """A function: options → a training that begins with the tiny model."""

    def begun(**options) -> TrainCommand:
        training = STILL | options.pop("training", {})
        given = {"data": str(tiny_dataset), "runs": tmp_path / "runs", "name": "tuned", "model": TINY, "from": tiny_checkpoint}
        return TrainCommand(**given | {"training": training} | options)

    return begun


def learned(options: TrainCommand, folder=None, until: int | None = None) -> torch.nn.Module:
    """The weights after its steps, in this process; they stop short of the batch ``until``."""
    dataset = Dataset(options.data)
    task, plan = options.make_task(dataset, None), EpochPlan(dataset.shards("train"), options.training.batch_size, options.training.seed)

    def batches(step):
        for number, batch in enumerate(local_batches(plan, task.collate, step), step):
            if number == until:
                raise KeyboardInterrupt
            yield batch

    train(task, batches, options.training, LocalReporter(folder))
    return task.module


def assert_same(one, other) -> None:
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_on_other_data_begins_with_the_model_and_says_so_everywhere(command, other_dataset, tiny_checkpoint):
    options = command(data=str(other_dataset))
    model = run(options)
    before, after = load_file(tiny_checkpoint / "model.safetensors"), load_file(model / "model.safetensors")
    statistics = {f"space.{name}" for name in ("mean", "deviation", "share_seen")}
    assert_same({name: tensor for name, tensor in before.items() if name not in statistics}, after)
    known = before["space.share_seen"] > 0.01
    of_data = torch.tensor(Dataset(other_dataset).card.statistics.mean)
    assert torch.equal(after["space.mean"][known], before["space.mean"][known])
    assert not torch.allclose(after["space.mean"][known], of_data[known])
    assert torch.equal(after["space.share_seen"], torch.tensor(Dataset(other_dataset).card.statistics.seen))
    origin = {"model": f"{tiny_checkpoint.parent.name}/{tiny_checkpoint.name}", "weights": fingerprint(tiny_checkpoint)}
    assert read_card(model).recipe["from"] == read_recipe(options.folder)["from"] == origin
    tracked = mlflow.MlflowClient(default_uri(options.runs)).get_run((Path(options.folder) / "mlflow_run_id").read_text())
    assert {name: tracked.data.params[f"from.{name}"] for name in origin} == origin
    MS2SLProducer.load(model)


def test_a_run_that_goes_on_does_not_begin_with_the_model_again(command, tmp_path):
    options = command(training={"steps": 6, "learning_rate": 1e-2, "checkpoint_every": 2})
    whole = learned(options, tmp_path / "whole").state_dict()
    with pytest.raises(KeyboardInterrupt):
        learned(options, tmp_path / "broken", until=5)
    assert_same(whole, learned(options, tmp_path / "broken").state_dict())
    afresh = learned(command(training=dict(options.training), **{"from": None})).state_dict()
    assert not torch.equal(whole["denoiser.head.weight"], afresh["denoiser.head.weight"]), "where it begins matters"


def test_its_weights_and_not_their_place_are_the_identity_of_a_run(command, tiny_checkpoint, tiny_dataset, tmp_path, capsys):
    dataset = Dataset(tiny_dataset)
    check_run_identity(command(), dataset)
    moved = shutil.copytree(tiny_checkpoint, tmp_path / "moved" / "here")
    check_run_identity(command(**{"from": moved}), dataset)
    assert "tuned goes on with from.model moved/here" in capsys.readouterr().out
    weights = ms2sl.load(tiny_checkpoint)[0].state_dict()
    checkpoint.save(moved, read_card(tiny_checkpoint), {name: weight * 1.5 for name, weight in weights.items()})
    with pytest.raises(InputError, match=f"holds a run with other settings .from.weights {fingerprint(tiny_checkpoint)} there"):
        check_run_identity(command(**{"from": moved}), dataset)
    with pytest.raises(InputError, match=r"from\.weights \w+ there, and unknown here"):
        check_run_identity(command(**{"from": None}), dataset)
    check_run_identity(command(name="plain", **{"from": None}), dataset)
    assert "from" not in read_recipe(tmp_path / "runs" / "plain")
    with pytest.raises(InputError, match=r"from\.weights None there, \w+ here"):
        check_run_identity(command(name="plain"), dataset)


def test_it_is_a_flag_and_a_key_of_a_recipe_of_all_that_train(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"from": "models:/ms2sl@champion"}))
    for kind in (TrainCommand, TuneCommand, ablate.AblateCommand):
        assert kind.parse(["--recipe", str(recipe)]).initial == "models:/ms2sl@champion"
        assert kind.parse(["--recipe", str(recipe), "--from", "runs/a/model"]).options()["from"] == "runs/a/model"


def test_a_registered_model_is_fetched_once_and_what_it_is_called_is_recorded(command, tiny_checkpoint, tmp_path, capsys):
    uri = default_uri(tmp_path / "runs")
    tracker = Tracker.open(uri, "signs", "first")
    tracker.register(tiny_checkpoint, "ms2sl", "champion")
    tracker.finish()
    with pytest.raises(InputError, match=r"model\.width 16 there, 24 here"):
        run(command(model=TINY | {"width": 24}, **{"from": "models:/ms2sl@champion"}))
    assert capsys.readouterr().out == "models:/ms2sl@champion is version 1\n"
    (fetched,) = (tmp_path / "runs" / ".models").iterdir()
    origin = command(**{"from": fetched}).learns["from"]
    assert origin == {"model": fetched.name, "weights": fingerprint(tiny_checkpoint)}
    assert origin["model"].startswith("ms2sl-1-")


def test_a_run_is_not_forgotten_to_begin_with_its_own_model(command, tiny_checkpoint, tmp_path):
    own = tmp_path / "runs" / "tuned" / "model"
    publish(tiny_checkpoint, own)
    with pytest.raises(InputError, match="is in the run that --overwrite would forget"):
        run(command(overwrite=True, **{"from": own}))
    assert fingerprint(own) == fingerprint(tiny_checkpoint)


def test_nothing_is_begun_with_what_does_not_fit(command, tiny_recogniser, tmp_path):
    with pytest.raises(InputError, match="holds a recogniser model, not a ms2sl model"):
        run(command(**{"from": tiny_recogniser}))
    with pytest.raises(InputError, match="is no checkpoint"):
        run(command(**{"from": tmp_path}))
    assert not (tmp_path / "runs" / "tuned").exists()


def test_other_frames_a_second_are_told(command, tiny_checkpoint, tmp_path, capsys):
    model, card = ms2sl.load(tiny_checkpoint)
    checkpoint.save(tmp_path / "faster", card.model_copy(update={"fps": 50.0}), model.state_dict())
    check(command(**{"from": tmp_path / "faster"}), Dataset(command().data))
    assert "made 50 frames a second, and the data have 12.5" in capsys.readouterr().out
    check(command(), Dataset(command().data))
    assert capsys.readouterr().out == ""


def test_a_sweep_and_its_trials_begin_with_the_model(command, tiny_dataset, tiny_checkpoint, tiny_recogniser, tmp_path):
    given = {"data": str(tiny_dataset), "back_translator": tiny_recogniser, "runs": tmp_path, "model": TINY, "from": tiny_checkpoint}
    options = TuneCommand(**given).settled(open_space("loss_weights")[0])
    assert options.training_command().learns["from"] == options.learns["from"] == command().learns["from"]
    with pytest.raises(InputError, match=r"model\.width 16 there"):
        tune.run(TuneCommand(space="architecture", **given))
    with pytest.raises(InputError, match="--from begins trainings"):
        TuneCommand(space="sampling", trained=tiny_checkpoint, **given).settled(open_space("sampling")[0])


def test_ablations_begin_with_the_model_unless_they_are_of_its_shape(tiny_dataset, tiny_checkpoint, tiny_recogniser, tmp_path):
    given = {"data": str(tiny_dataset), "back_translator": tiny_recogniser, "runs": tmp_path, "model": TINY, "clips": 4}
    options = ablate.AblateCommand(**given, only=("without cycle",), **{"from": tiny_checkpoint})
    assert ablate.training_of(options, "without cycle", 0).initial == str(tiny_checkpoint)
    with pytest.raises(InputError, match=r"model\.schedule linear there, none here"):
        ablate.run(options.model_copy(update={"only": ("without diffusion",)}))
    assert not list(tmp_path.glob("*/recipe.json"))

"""Models of the service, asked for from folders that know nothing of them."""

import shutil
from pathlib import Path

import pytest
import ray

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training.checkpoint import fingerprint, publish, read_card
from serve import app, models
from serve.model_replica import Sampler

CHAMPION = "models:/ms2sl@champion"
LEFT_OUT = {"model": CHAMPION, "tracking": None}  # as in config.yaml


@pytest.fixture(scope="module")
def checkout(tiny_checkpoint, tmp_path_factory) -> Path:
    """A folder with a champion in runs/mlflow.db, and with its checkpoint."""
    folder = tmp_path_factory.mktemp("checkout")
    tracker = Tracker.open(default_uri(folder / "runs"), "signs", "first")
    assert tracker.register(tiny_checkpoint, "ms2sl", "champion") == "1"
    tracker.finish()
    shutil.copytree(tiny_checkpoint, folder / "runs" / "mine" / "model")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The folder of this process, which is empty."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def test_a_sampler_finds_the_champion_and_a_relative_folder_of_the_checkout(checkout, tiny_checkpoint, elsewhere, monkeypatch):
    monkeypatch.setattr(models, "CHECKOUT", checkout)
    sampler = Sampler(1, 2, "cpu", "fp32")
    assert sampler._load(LEFT_OUT)[0] == "ms2sl/1"
    assert sampler._load({"model": "runs/mine/model"})[0] == fingerprint(tiny_checkpoint)
    assert sampler._load({"model": CHAMPION, "tracking": "sqlite:///runs/mlflow.db"})[0] == "ms2sl/1"
    assert not list(elsewhere.iterdir())


def test_what_is_built_elsewhere_names_absolute_places(checkout, monkeypatch):
    monkeypatch.setattr(models, "CHECKOUT", checkout)

    def of(**arguments) -> dict:
        return app.model(app.Service.parse(arguments))

    assert of(model=CHAMPION) == {"model": "models:/ms2sl/1", "tracking": default_uri(checkout / "runs")}
    assert of(model="runs/mine/model")["model"] == str(checkout / "runs" / "mine" / "model")
    shutil.copytree(checkout / "runs" / "mine", "runs/quickstart")
    assert of()["model"] == str(Path.cwd() / "runs" / "quickstart" / "model"), "the folder of the user comes first"


def test_the_environment_names_the_registry(checkout, elsewhere, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(checkout / "runs"))
    monkeypatch.setattr(models, "CHECKOUT", elsewhere)
    assert models.find(CHAMPION, None).place == "models:/ms2sl/1"


def test_a_database_that_is_nowhere_is_told_with_where_it_was_sought_and_none_is_made(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "CHECKOUT", tmp_path)
    with pytest.raises(InputError) as refused:
        Sampler(1, 2, "cpu", "fp32")._load(LEFT_OUT)
    looked = f"{elsewhere}/runs/mlflow.db and no {tmp_path}/runs/mlflow.db"
    assert (
        str(refused.value) == f"{CHAMPION} cannot be looked up: there is no {looked}; give tracking, MLflow's URI, or a folder as the model"
    )
    assert not list(elsewhere.iterdir())


def test_a_model_in_a_bucket_is_served(s3, tiny_checkpoint, tmp_path):
    place = StoragePath(s3) / tmp_path.name / "model"
    with pytest.raises(InputError, match=r"is no checkpoint: it has no config\.json"):
        Sampler(1, 2, "cpu", "fp32")._load({"model": place.uri, "tracking": None})
    publish(tiny_checkpoint, place)
    version, loaded = Sampler(1, 2, "cpu", "fp32")._load({"model": place.uri, "tracking": None})
    assert version == fingerprint(tiny_checkpoint)
    assert loaded.card == read_card(tiny_checkpoint)


@pytest.mark.usefixtures("ray_cluster")
def test_in_a_process_of_rays_own_the_checkout_comes_first(elsewhere):
    assert models.bases()[0] == elsewhere
    bases = ray.get(ray.remote(num_cpus=0)(models.bases).remote())
    assert bases[0] == models.CHECKOUT == Path(__file__).parents[2]

"""The recipes of real corpora, on small ones of the same shape, with tiny encoders of the real classes."""

from pathlib import Path

import pytest

from jobs import prepare, train
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Utterance
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from tests.corpora import builders
from tests.features import checkpoints

RECIPES = Path("jobs/recipes")
COMMANDS = {"prepare": prepare.PrepareCommand, "train": train.TrainCommand}


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_of_a_recipe_is_known(recipe):
    COMMANDS[recipe.stem.split("-")[-1]].parse(["--recipe", str(recipe)])


def how2sign(root: Path) -> list[str]:
    builders.how2sign(root)
    for split, names in {"train": (0, 1, 2), "val": (3, 4, 5)}.items():
        (root / split / "openpose_output").mkdir(parents=True)
        (root / split / "openpose_output" / "json").mkdir()
        for i in names:
            (root / "json" / f"v{i}-rgb_front").rename(root / split / "openpose_output" / "json" / f"v{i}-rgb_front")
    return ["--how2sign.source", str(root), "--text.weights", str(checkpoints.clip(root / "clip"))]


def phoenix14t(root: Path) -> list[str]:
    builders.phoenix14t(root)
    return ["--phoenix14t.source", str(root), "--text.weights", str(checkpoints.multilingual_clip(root / "multilingual"))]


@pytest.mark.slow
@pytest.mark.parametrize("make", [how2sign, phoenix14t])
def test_from_the_corpus_to_signs(make, tmp_path, ray_cluster):
    name, data = make.__name__, str(tmp_path / "data")
    options = [*make(tmp_path / "corpus"), "--speech.weights", str(checkpoints.speech_encoder(tmp_path / "hubert", "hubert"))]
    recipe = ["--recipe", str(RECIPES / f"{name}-prepare.yaml"), "--out", data, "--workers", "1"]
    prepare.run(prepare.PrepareCommand.parse([*recipe, *options]))
    card = Dataset(data).card
    assert [(counts.with_text, counts.with_speech, counts.with_poses) for counts in card.splits.values()] == [(3, 3, 3)] * 2
    small = "--model.width 16 --model.heads 2 --model.encoder-layers 1 --model.denoiser-layers 1 --model.embedding 8"
    short = "--training.steps 4 --training.batch-size 3 --training.validate-every 4 --training.warmup 1"
    recipe = f"--recipe {RECIPES}/sentences-train.yaml --data {data} --runs {tmp_path}/runs --name {name} --workers 1".split()
    model = train.run(train.TrainCommand.parse([*recipe, *small.split(), *short.split()]))
    clip = next(Dataset(data).clips("train"))
    made = MS2SLProducer.load(model).produce([clip.utterance("text"), Utterance("spoken", speech=clip.speech, seconds=1)], seed=0)
    assert [poses.joints.shape[1:] for poses in made] == [(card.skeleton.n_joints, card.skeleton.dims)] * 2
    assert made[1].n_frames == 25

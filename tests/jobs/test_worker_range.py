import pytest
from pydantic import TypeAdapter, ValidationError

from jobs.train import TrainCommand
from jobs.worker_range import WorkerRange, fewest, for_ray, most
from ms2sl.errors import InputError


@pytest.mark.parametrize(
    ("said", "kept", "ends", "ray"),
    [(3, 3, (3, 3), 3), ("3", 3, (3, 3), 3), ("2:8", "2:8", (2, 8), (2, 8)), ("02:8", "2:8", (2, 8), (2, 8))],
)
def test_a_number_or_a_range(said, kept, ends, ray):
    workers = TypeAdapter(WorkerRange).validate_python(said)
    assert workers == kept
    assert (fewest(workers), most(workers)) == ends
    assert for_ray(workers) == ray


@pytest.mark.parametrize("wrong", [0, -1, "0:2", "3:2", "two", "2:", ":2", "1:2:3", 1.5, ""])
def test_anything_else_is_refused(wrong):
    with pytest.raises(ValidationError, match="the fewest and the most of them, such as 2:8"):
        TypeAdapter(WorkerRange).validate_python(wrong)


def test_the_flag_takes_both():
    assert TrainCommand.parse(["--workers", "2:8"]).workers == "2:8"
    assert TrainCommand.parse(["--workers=4"]).workers == 4
    with pytest.raises(InputError, match=r"workers: .*such as 2:8"):
        TrainCommand.parse(["--workers", "8:2"])


@pytest.mark.parametrize("written", ["2:8", "'2:8'", "4"])
def test_a_recipe_takes_both(tmp_path, written):
    (tmp_path / "recipe.yaml").write_text(
        f"workers: {written}\ntraining: {{learning_rate: 1.0e-3, steps: 0x10, seed: 1_000, ema_decay: .5}}\n"
    )
    command = TrainCommand.parse(["--recipe", str(tmp_path / "recipe.yaml")])
    assert command.workers == (4 if written == "4" else "2:8")
    training = command.training
    assert (training.learning_rate, training.steps, training.seed, training.ema_decay) == (0.001, 16, 1000, 0.5)

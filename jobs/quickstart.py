"""The whole way, once: a corpus from real signing, a recogniser to judge by, MS2SL, and what it says.

Run again, it reuses what is there.
"""

from functools import partial

from pydantic import Field

from jobs import evaluate, prepare, train
from jobs.cli import Command, main, start_ray
from ms2sl.corpora.fingerspelling import FingerspellingConfig
from ms2sl.data.dataset import summary
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import PathOrUri
from ms2sl.tracking.tracker import default_uri
from ms2sl.training.loop import TrainingConfig


class QuickstartCommand(Command):
    """Prepares the embedded corpus, trains on it and shows the result."""

    signed_language: str = Field("ase", description="ISO 639-3 code of the manual alphabet; ase is American")
    clips: int = Field(3000, gt=0, description="training clips")
    steps: int = Field(1000, gt=0, description="training steps of MS2SL")
    recogniser_steps: int = Field(400, gt=0, description="training steps of the recogniser")
    workers: int = Field(1, gt=0, description="DDP workers")
    gpu: bool = Field(False, description="one GPU a worker")
    data: PathOrUri = Field("data/fingerspelling", description="folder for the dataset")
    runs: PathOrUri = Field("runs", description="folder for the runs, local or a URI")


def run(options: QuickstartCommand) -> None:
    start_ray()
    print("1/4  corpus: fingerspelling from real recordings")
    corpus = FingerspellingConfig(signed_language=options.signed_language, train=options.clips)
    card = prepare.prepare(prepare.PrepareCommand(out=options.data, fingerspelling=corpus))  # type: ignore[call-arg]
    print(*summary(card), sep="\n")

    command = partial(train.TrainCommand, data=options.data, runs=options.runs, workers=options.workers, gpu=options.gpu)
    print("2/4  recogniser: poses → letters, from real signing only")
    fast = TrainingConfig(steps=options.recogniser_steps, validate_every=100, checkpoint_every=200)
    judge = train.run(command(name="recogniser", task="recogniser", training=fast))
    print("3/4  MS2SL: text and speech → signing")
    learning = TrainingConfig(steps=options.steps, checkpoint_every=100)
    model = train.run(command(name="quickstart", training=learning))
    print("4/4  what it says, beside real signing, trivial producers and the present champion")
    out = StoragePath(options.runs) / "quickstart" / "evaluation"
    judging = evaluate.EvaluateCommand(data=options.data, model=model, back_translator=judge, out=out, promote=True)
    try:
        evaluate.run(judging)
    except InputError as error:  # the champion may be of other data, or MLflow away
        print(f"the model is not compared with the champion: {error}")
        evaluate.run(judging.model_copy(update={"promote": False}))
    print(f"look at it:        {out / 'gallery.html'}")
    print(f"browse the runs:   .venv/bin/mlflow ui --backend-store-uri {default_uri(options.runs)}")
    print("try it in a browser: make serve")
    print(f'say your own word: .venv/bin/python -m jobs.produce --model {model} --text "hello"')


if __name__ == "__main__":
    main(QuickstartCommand, run)

"""What a sweep found: the best settings, whether they are surely better than the recipe's own, tables, plots, and the best model."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from jobs.sweep.command import TuneCommand
from jobs.sweep.unseen import AGAIN, Unseen
from ms2sl.checkpoint import publish
from ms2sl.errors import InputError
from ms2sl.evaluation.tables import markdown
from ms2sl.files import replacing
from ms2sl.sweep.front import front
from ms2sl.sweep.front_plot import front_plot
from ms2sl.sweep.importance import importance
from ms2sl.sweep.ledger import LATENCY, QUALITY, Trial
from ms2sl.sweep.parallel import parallel_coordinates
from ms2sl.sweep.plots import changes, importance_plot, learning_curves
from ms2sl.sweep.report import trials_table
from ms2sl.sweep.values import shown
from ms2sl.tracking import Tracker
from tune_spaces import Space


def conclude(options: TuneCommand, space: Space, trials: Sequence[Trial], tracker: Tracker) -> None:
    """Prints and writes what was found, and registers the best model. Raises InputError if no trial was ever judged."""
    ended = [trial for trial in trials if trial.value(QUALITY) == trial.value(QUALITY)]
    if not ended:
        reasons = [f"the first failed: {trial.reason}" for trial in trials if trial.reason]
        advice = (reasons or ["none came to its first judgement: give them more --minutes, or --judgements, and run the command again"])[0]
        raise InputError(f"none of {len(trials)} trials reported its quality; {advice}")
    finished = [trial for trial in ended if trial.outcome == "finished"]
    furthest = max(trial.step for trial in ended)
    best = min(finished or [trial for trial in ended if trial.step == furthest], key=lambda trial: trial.value(QUALITY))
    own = next((trial for trial in ended if options.is_own(trial.recipe)), None)
    judge = Unseen(options)
    title = f"loss of {judge.quality.score.replace('_', ' ')}"
    columns = [
        (title, QUALITY, 1, judge.quality.digits),
        ("ms", LATENCY, 1000, 0),
        ("hand DTW", "hand_dtw", 1, 3),
        ("amplitude", "amplitude", 1, 2),
    ]
    parts = [f"{options.name}: {described(options, trials)}", markdown(trials_table(trials, columns))]
    chosen = front(finished, options.metrics) if len(options.objectives) > 1 else []
    if chosen:
        parts += [
            f"The front, judged again on {judge.about}, {AGAIN} samples each, nothing beside it:",
            markdown(judge.front_table(chosen)),
        ]
    verdict = judge.verdict(best, own)
    values = ", ".join(f"{name} {shown(value)}" for name, value in best.drawn.items()) or "nothing changed"
    parts.append(f"best: trial {best.label}, {title} {best.value(QUALITY):.4g}, with {values}\n\n{verdict}")
    write(options, parts, plots(options, space, trials, ended, chosen, title), tracker)
    tracker.metrics({"best/" + name: value for name, value in best.history[-1].items()}, best.number)
    tracker.tags({"best_trial": best.number, "verdict": verdict})
    print("\n\n".join(["", *parts]))
    if options.trains and best.checkpoint:
        keep(options, best, tracker)
    print(f"sweep: {options.folder / 'sweep.md'}\nMLflow: mlflow ui --backend-store-uri {tracker.uri}")


def described(options: TuneCommand, trials: Sequence[Trial]) -> str:
    """Who was tried, how, and what became of them."""
    outcomes = [trial.outcome for trial in trials]
    count = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
    what = f"{options.steps} steps each" if options.trains else f"samples of {options.trained}"
    how = options.search if options.scheduler == "none" else f"{options.search}, {options.scheduler}"
    return f"{len(trials)} trials of {options.space} ({how}), {what}: {count}"


def plots(options: TuneCommand, space: Space, trials: Sequence[Trial], ended: Sequence[Trial], chosen: Sequence[Trial], title: str) -> dict:
    """PNGs by name."""
    pictures = {}
    shares = importance(ended, QUALITY, space.logarithmic)
    if options.trains:
        pictures["curves"] = learning_curves(trials, QUALITY, title)
    if len(ended) > 1 and space.leaves:
        pictures["parallel"] = parallel_coordinates(ended, QUALITY, title)
    if shares:
        pictures["importance"] = importance_plot(shares, len(ended))
    if chosen:
        pictures["front"] = front_plot(ended, chosen, (title, "milliseconds for one utterance"))
    if options.scheduler == "pbt":
        pictures["changes"] = changes(trials, "settings during the sweep")
    return {f"{name}.png": content for name, content in pictures.items()}


def write(options: TuneCommand, parts: Sequence[str], pictures: dict[str, bytes], tracker: Tracker) -> None:
    """``sweep.md`` and the plots, in the folder of the sweep and in MLflow."""
    images = [f"![{name}]({name})" for name in pictures]
    files = {"sweep.md": "\n\n".join([*parts, *images]).encode() + b"\n"} | pictures
    for name, content in files.items():
        with replacing(options.folder / name) as temporary:
            temporary.write_bytes(content)
        tracker.artifact(options.folder / name)
    tracker.artifact(options.folder / "trials")


def keep(options: TuneCommand, best: Trial, tracker: Tracker) -> None:
    """Puts the best model into the folder ``best`` of the sweep, and into MLflow's registry, once."""
    folder, known = options.folder / "best", options.folder / "best.json"
    if known.exists() and json.loads(known.read_text())["trial"] == best.number and folder.exists():
        print(f"best model: {folder}")
        return
    shutil.rmtree(folder, ignore_errors=True)
    publish(Path(best.checkpoint), folder)
    sweep = {"sweep": options.name, "sweep_run_id": tracker.run_id or "", "trial": str(best.number)}
    version = Tracker(tracker.uri, best.run_id).register(folder, "ms2sl", options.alias, sweep)
    with replacing(known) as temporary:
        temporary.write_text(json.dumps({"trial": best.number, "version": version}))
    print(f"best model: {folder}" + (f"; models:/ms2sl@{options.alias} is version {version}" if version else ""))

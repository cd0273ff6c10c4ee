"""What a sweep found: the best settings, whether they are surely better than the recipe's own, tables, plots, and the best model."""

import json
from collections.abc import Sequence

from jobs.sweep.command import TuneCommand
from jobs.sweep.holdout_eval import AGAIN, HoldoutEvaluator
from ms2sl.data.types import MODALITIES
from ms2sl.errors import InputError
from ms2sl.evaluation.objective import LATENCY, QUALITY, digits
from ms2sl.evaluation.tables import markdown
from ms2sl.io.storage import StoragePath, write_files
from ms2sl.io.uri import public
from ms2sl.sweep.importance import importance
from ms2sl.sweep.pareto import front
from ms2sl.sweep.report import trials_table
from ms2sl.sweep.trial_store import Trial
from ms2sl.sweep.values import judged, shown
from ms2sl.tracking.tracker import Tracker
from ms2sl.training.checkpoint import publish
from tune_spaces import Space


def conclude(options: TuneCommand, space: Space, trials: Sequence[Trial], tracker: Tracker, again: bool = True) -> None:
    """Prints and writes what was found, and registers the best model. Raises InputError if no trial was ever judged.

    again: whether the best are judged again, which takes its time.
    """
    ended = judged(trials, QUALITY)
    if not ended:
        reasons = [f"the first failed: {trial.reason}" for trial in trials if trial.reason]
        advice = (reasons or ["none came to its first judgement"])[0]
        raise InputError(f"none of {len(trials)} trials reported its quality; {advice}")
    own = max((trial for trial in ended if options.is_own(trial.recipe)), key=lambda trial: trial.step, default=None)
    alike = comparable(ended, own, options.score)
    finished = [trial for trial in alike if trial.outcome == "finished"]
    furthest = max(trial.step for trial in alike)
    best = (finished or [trial for trial in alike if trial.step == furthest])[0]
    chosen = front(finished, options.metrics) if len(options.objectives) > 1 else []

    score = options.score
    title = f"guarded {score.replace('_', ' ')}"
    columns = [
        (title, QUALITY, 1, digits(score)),
        *((f"from {each}", f"{score}_{each}", 1, digits(score)) for each in heard_by(ended, score)),
    ]
    columns += [("ms", LATENCY, 1000, 0)] if LATENCY in options.metrics else []
    columns += [("hand DTW", "hand_dtw", 1, 3), ("speed ratio", "amplitude", 1, 2)]
    parts = [f"{options.name}: {described(options, trials)}", markdown(trials_table(trials, columns))]
    values = ", ".join(f"{name} {shown(value)}" for name, value in best.drawn.items()) or "nothing changed"
    parts.append(f"best: trial {best.label}, {title} {best.value(QUALITY):.4g}, with {values}")
    if again:
        parts += judged_again(options, best, own, chosen)
        tracker.tags({"verdict": parts[-1]})
    write(options, parts, plots(options, space, trials, alike, best, chosen, title), tracker)
    tracker.metrics({"best/" + name: value for name, value in best.history[-1].items()}, best.number)
    tracker.tags({"best_trial": best.number})
    print("\n\n".join(["", *parts]))
    if options.trains and best.checkpoint:
        keep(options, best, tracker)
    print(f"sweep: {options.folder / 'sweep.md'}\nMLflow: mlflow ui --backend-store-uri {public(tracker.uri)}")


def comparable(trials: Sequence[Trial], own: Trial | None, score: str) -> list[Trial]:
    """Those judged from the same modalities as the recipe's own settings, or from the most: from text alone it is easier than from both."""
    wanted = heard_by([own], score) if own else max((heard_by([trial], score) for trial in trials), key=len)
    return [trial for trial in trials if heard_by([trial], score) == wanted]


def heard_by(trials: Sequence[Trial], score: str) -> list[str]:
    """The modalities from which any of them was judged."""
    return [modality for modality in MODALITIES if any(f"{score}_{modality}" in trial.history[-1] for trial in trials)]


def judged_again(options: TuneCommand, best: Trial, own: Trial | None, chosen: Sequence[Trial]) -> list[str]:
    """The front, and whether the best trial is surely better than the recipe's own settings, on clips that no trial was judged on."""
    unseen = HoldoutEvaluator(options)
    print(f"judging the best again, on {unseen.about}")
    parts = []
    if chosen:
        parts = [f"The front, judged again on {unseen.about}, {AGAIN} samples each, with nothing beside it:"]
        parts.append(markdown(unseen.front_table(chosen)))
    return [*parts, unseen.verdict(best, own)]


def described(options: TuneCommand, trials: Sequence[Trial]) -> str:
    """Who was tried, how, and what became of them."""
    outcomes = [trial.outcome for trial in trials]
    count = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
    what = f"{options.steps} steps each" if options.trains else f"samples of {StoragePath(options.trained)}"
    how = options.search if options.scheduler == "none" else f"{options.search}, {options.scheduler}"
    return f"{len(trials)} trials of {options.space} ({how}), {what}: {count}"


def plots(
    options: TuneCommand,
    space: Space,
    trials: Sequence[Trial],
    alike: Sequence[Trial],
    best: Trial,
    chosen: Sequence[Trial],
    title: str,
) -> dict[str, bytes]:
    """PNGs by name. alike: the trials that can be compared; chosen: those on the front."""
    from ms2sl.sweep.front_plot import front_plot  # matplotlib takes long to load
    from ms2sl.sweep.parallel import parallel_coordinates
    from ms2sl.sweep.plots import changes, importance_plot, learning_curves

    pictures = {}
    common = min(trial.step for trial in alike)
    shares = importance([trial.until(common) for trial in alike], QUALITY, space.logarithmic)
    if options.trains:
        pictures["curves"] = learning_curves(trials, QUALITY, title, best)
    if len(alike) > 1 and space.leaves:
        pictures["parallel"] = parallel_coordinates(alike, QUALITY, title, best)
    if shares:
        pictures["importance"] = importance_plot(shares, len(alike), common)
    if chosen:
        pictures["front"] = front_plot(alike, chosen, (title, "milliseconds for one utterance"))
    if options.scheduler == "pbt":
        pictures["changes"] = changes(trials, "settings during the sweep")
    return {f"{name}.png": content for name, content in pictures.items()}


def write(options: TuneCommand, parts: Sequence[str], pictures: dict[str, bytes], tracker: Tracker) -> None:
    """``sweep.md`` and the plots, in the folder of the sweep and in MLflow."""
    images = [f"![{name}]({name})" for name in pictures]
    files = {"sweep.md": "\n\n".join([*parts, *images]).encode() + b"\n"} | pictures
    for path in write_files(options.folder, files):
        tracker.artifact(path)
    tracker.artifact(options.folder / "trials")


def keep(options: TuneCommand, best: Trial, tracker: Tracker) -> None:
    """Puts the best model into the folder ``best`` of the sweep and, once its trial has finished, into MLflow's registry."""
    folder, known = options.folder / "best", options.folder / "best.json"
    now = {"trial": best.number, "checkpoint": best.checkpoint}
    before = json.loads(known.read_text()) if known.exists() and folder.exists() else {}
    version = before.get("version")
    if now != {name: before.get(name) for name in now}:
        with options.checkpoint_of(best).reading() as checkpoint:
            publish(checkpoint, folder)
        version = None
    if version is None and best.outcome == "finished":
        sweep = {"sweep": options.name, "sweep_run_id": tracker.run_id or "", "trial": str(best.number)}
        version = Tracker(tracker.uri, best.run_id).register(folder, options.task, options.alias, sweep)
    known.write(json.dumps(now | {"version": version}).encode())
    print(f"best model: {folder}" + (f"; models:/ms2sl@{options.alias} is version {version}" if version else ""))

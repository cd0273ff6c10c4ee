"""Judges the few settings that a sweep ends with once more, on clips by which none of them was chosen."""

from collections.abc import Sequence

import torch
from tqdm import tqdm

from jobs.sweep.command import TuneCommand
from jobs.sweep.resume import key
from ms2sl.config import Config
from ms2sl.data.dataset import Dataset
from ms2sl.evaluation.aggregation import Result
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.evaluation.objective import Quality, digits
from ms2sl.evaluation.tables import Table, interval, with_interval
from ms2sl.io.storage import AnyPath
from ms2sl.sweep.trial_store import Trial
from ms2sl.sweep.values import shown, swept
from ms2sl.systems import back_translation

AGAIN = 3  # samples of each utterance
CLIPS = 512  # at most


class HoldoutEvaluator:
    """Judges checkpoints again, on clips by which no trial was chosen: who is the best of many on some clips was also lucky with them.

    It does so in this process, with the threads of a trial and on such a device as a trial has, if this machine has it.
    """

    def __init__(self, options: TuneCommand):
        torch.set_num_threads(options.cpus_per_trial)
        device = options.device if torch.cuda.is_available() else "cpu"
        dataset, reader = Dataset(options.data), back_translation.load(options.back_translator, device)
        self.options = options
        seen = chosen_clips(dataset, dataset.validation, options.clips, reader.reads)
        spoken, known = all(clip.speech for clip in seen), {clip.id for clip in seen}
        every = chosen_clips(dataset, dataset.validation, CLIPS + len(seen), reader.reads)
        others = [clip for clip in every if clip.id not in known and (clip.speech or not spoken)][:CLIPS]
        clips, which = (others, "other") if len(others) > 1 else (seen, "the same")
        self.about = f"{len(clips)} {which} clips of {dataset.validation}"
        self.quality = Quality(dataset, reader, clips, options.score, device)
        self._judged: dict[str, list[Result]] = {}

    def results(self, trial: Trial) -> list[Result]:
        if key(trial.recipe) not in self._judged:
            self._judged[key(trial.recipe)] = self.quality.results(*self._sampled(trial), range(AGAIN))
        return self._judged[key(trial.recipe)]

    def _sampled(self, trial: Trial) -> tuple[AnyPath, Config]:
        """The model of a trial, and how it is sampled."""
        return self.options.trained or self.options.checkpoint_of(trial), self.options.with_recipe(trial.recipe).call_options

    def verdict(self, best: Trial, own: Trial | None) -> str:
        """Whether the best trial is surely better than the recipe's own settings."""
        if own is None or not (self.options.trained or own.checkpoint):
            return "no trial ended with the recipe's own settings, so there is nothing to compare it with"
        if own.step < best.step:
            return "the recipe's own settings have not come as far, so they cannot be compared yet"
        if best.number == own.number:
            return "the recipe's own settings are the best that were tried"
        gap = self.quality.gap(*(self.results(trial) for trial in tqdm((best, own), desc="judge again", unit="trial")))
        surely = "surely better than" if gap.high < 0 else "surely worse than" if gap.low > 0 else "not surely better than"
        name = self.quality.score.replace("_", " ")
        difference = with_interval(gap, sign=True, digits=digits(self.quality.score))
        return f"{surely} the recipe's own settings: on {self.about}, {name} {difference} against theirs, without the guard"

    def front_table(self, trials: Sequence[Trial]) -> Table:
        """A row a trial: what it drew, the score from each modality with its interval, the speed ratio, and milliseconds."""
        names, score = swept(trials), self.quality.score
        modalities = [result.modality for result in self.results(trials[0])]
        columns = [title for each in modalities for title in (f"{score} from {each}".replace("_", " "), "95 %", "speed ratio")]
        rows = [("trial", *names, *columns, "ms an utterance")]
        for trial in tqdm(trials, desc="judge the front again", unit="trial"):
            cells = [
                (f"{r.value(score):.{digits(score)}f}", interval(r.scores[score], digits(score)), f"{r.value('amplitude'):.2f}")
                for r in self.results(trial)
            ]
            milliseconds = 1000 * self.quality.latency(*self._sampled(trial))
            values = (shown(trial.drawn.get(name, "")) for name in names)
            rows.append((trial.label, *values, *(cell for some in cells for cell in some), f"{milliseconds:.0f}"))
        return rows

"""Everything that an evaluation found, as Markdown, JSON and plots."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ms2sl.evaluation.aggregation import Result
from ms2sl.evaluation.retrieval import retrieval_table
from ms2sl.evaluation.steps import Point, steps_plot, steps_table
from ms2sl.evaluation.tables import Table, decisive, markdown, motion_table, reading_table, share_of_ceiling
from ms2sl.io.storage import AnyPath, write_files
from ms2sl.systems.back_translation import Reading

READ, MOVED = "What a reader reads", "How it moves, in shoulder widths or as a share of real signing"
FOUND, STEPPED = "What finds its counterpart in the joint space", "Sampling steps"


@dataclass(frozen=True, eq=False)
class Report:
    """What was judged, and the results: the ceiling first and the model second; R@k by direction; quality by sampling steps;
    reads: what the reader reads."""

    title: str
    about: str
    results: Sequence[Result]
    retrieval: dict[str, dict[str, float]]
    points: Sequence[Point]
    reads: Reading

    def tables(self) -> dict[str, Table]:
        """By title."""
        found = {
            READ: reading_table(self.results, self.reads),
            MOVED: motion_table(self.results),
        }
        found |= {FOUND: retrieval_table(self.retrieval)} if self.retrieval else {}
        return found | ({STEPPED: steps_table(self.points, self.reads)} if self.points else {})

    def markdown(self) -> str:
        """The tables, and who failed to produce what."""
        parts = [self.about, *(f"{title}:\n\n{markdown(rows)}" for title, rows in self.tables().items())]
        lost = "clips could not be produced and were judged as the mean pose; the first"
        failed = [f"{each.label}: {len(each.failed)} {lost}: {each.failed[0]}" for each in self.results if each.failed]
        return "\n\n".join(parts + failed)

    def flat(self) -> dict[str, float]:
        """Every number by name, for tracking."""
        key = decisive(self.reads)
        scores = {f"{result.label}/{name}": score.value for result in self.results for name, score in result.scores.items()}
        ends = {f"{result.label}/{key}_{end}": getattr(result.scores[key], end) for result in self.results for end in ("low", "high")}
        found = {f"{direction}/{name}": value for direction, some in self.retrieval.items() for name, value in some.items()}
        return {name.replace(" ", "_").replace("→", "to"): value for name, value in (scores | ends | found).items()}

    def write(self, folder: AnyPath, options: dict) -> None:
        """``results.md``, ``results.json`` and, if steps were swept, ``steps.png``."""
        content = {
            "options": options,
            "results": [self._plain(result) for result in self.results],
            "retrieval": self.retrieval,
            "steps": [{"steps": point.steps, "latency": point.latency, **self._plain(point.result)} for point in self.points],
        }
        files = {"results.md": (self.markdown() + "\n").encode(), "results.json": json.dumps(_finite(content), indent=1).encode()}
        if self.points:
            files["steps.png"] = steps_plot(self.points, self.results[0], self.reads)
        write_files(folder, files)

    def _plain(self, result: Result) -> dict:
        scores = {name: asdict(score) for name, score in result.scores.items()}
        share = share_of_ceiling(result, self.results[0], self.reads)
        return {"name": result.name, "from": result.modality, "failed": len(result.failed), "of_ceiling": share, "scores": scores}


def _finite(value):
    """JSON knows no NaN: null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

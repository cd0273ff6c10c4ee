"""Makes a model the champion of MLflow's registry (``models:/ms2sl@champion``) if it is surely not worse than the present one."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ms2sl.data.skeleton import Skeleton
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import Result
from ms2sl.evaluation.objective import ScoreName
from ms2sl.evaluation.promotion import Verdict, compare
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import REGISTERED, public
from ms2sl.model_uri import CANDIDATE, CHAMPION, fetch
from ms2sl.systems.registry import read_producer_card
from ms2sl.tracking.mlflow_server import connect
from ms2sl.tracking.tracker import WEIGHTS, Tracker
from ms2sl.training.checkpoint import fingerprint

T = TypeVar("T")


class Promotion:
    """From the moment before a model is evaluated, when it is registered if it is not, to the verdict on it.

    version: of the model. present: version of the champion, None if there is none. All raises InputError where MLflow cannot be reached.
    """

    def __init__(self, model: StoragePath, uri: str, run_id: str | None):
        """model: folder of a checkpoint. run_id: of its training in MLflow, if that is known."""
        self.uri, self.name = uri, read_producer_card(model).kind
        self.present = self._champion()
        self.version = self._version(fingerprint(model)) or self._register(model, run_id)

    @contextmanager
    def champion(self, skeleton: Skeleton, out: StoragePath) -> Iterator[StoragePath | None]:
        """Folder of the present champion, below ``out``, which all machines share; None if there is none, or it is this model itself.

        Raises InputError if it cannot be fetched or is of another skeleton.
        """
        if self.present in (None, self.version):
            yield None
            return
        place = f"{REGISTERED}{self.name}/{self.present}"
        temporary = out / f".champion-{secrets.token_hex(4)}"
        try:
            _, folder = fetch(place, self.uri, temporary)
            if read_producer_card(folder).skeleton != skeleton:
                raise InputError(
                    f"{place}, the present champion, is of another skeleton than the data, so the model cannot be compared with it: "
                    f"leave out --promote, or point {self.alias} to the model yourself"
                )
            yield folder
        finally:
            temporary.delete()

    def decide(self, model: Sequence[Result], champion: Sequence[Result], score: ScoreName, margin: float) -> str:
        """Moves the alias if the verdict is so, keeps the verdict in tags of the version (``promotion``: ``promoted`` or ``refused``;
        ``promotion.reason``), and returns it as a line."""
        if self.version == self.present:
            return f"{self.alias} is version {self.version} already, which is this model"
        verdict = compare(model, champion, score, margin) if self.present else Verdict(True, "there was no champion")
        if (now := self._champion()) != self.present:
            verdict = Verdict(False, f"version {now} became the champion in the meantime: evaluate again")
        if verdict.promoted:
            self._ask(lambda client: client.set_registered_model_alias(self.name, CHAMPION, self.version))
        for key, value in {"promotion": "promoted" if verdict.promoted else "refused", "promotion.reason": verdict.reason}.items():
            self._ask(lambda client, key=key, value=value: client.set_model_version_tag(self.name, self.version, key, value))
        said = f"is now version {self.version}" if verdict.promoted else f"stays version {now}, and version {self.version} a candidate"
        return f"{self.alias} {said}: {verdict.reason}"

    @property
    def alias(self) -> str:
        return f"{REGISTERED}{self.name}@{CHAMPION}"

    def _champion(self) -> str | None:
        found = self._ask(lambda client: client.search_registered_models(f"name = '{self.name}'"))
        return str(found[0].aliases[CHAMPION]) if found and CHAMPION in found[0].aliases else None

    def _version(self, weights: str) -> str | None:
        """The newest with these weights."""
        found = self._ask(lambda client: client.search_model_versions(f"name = '{self.name}' and tags.`{WEIGHTS}` = '{weights}'"))
        return str(max(int(version.version) for version in found)) if found else None

    def _register(self, model: StoragePath, run_id: str | None) -> str:
        tracker = Tracker(self.uri, run_id) if run_id else Tracker.open(self.uri, self.name, model.parent.name)
        version = tracker.register(model, self.name, CANDIDATE)
        if not run_id:
            tracker.finish()
        if version is None:
            raise InputError(f"{model} cannot be registered at {public(self.uri)}, and so it cannot be promoted")
        return version

    def _ask(self, function: Callable[[Any], T]) -> T:
        try:
            return function(connect(self.uri))
        except Exception as error:  # of MLflow, of its store, of the network
            reason = public((str(error) or repr(error)).splitlines()[0])
            raise InputError(f"MLflow at {public(self.uri)} does not tell of {self.alias}: {reason}") from None

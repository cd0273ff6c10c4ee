"""What Ray Tune writes to disk of a sweep before its first trial."""

import pytest
from ray import cloudpickle, tune

from jobs.sweep.callbacks import TrialRecorder
from jobs.sweep.resume import pending
from jobs.sweep.search import scheduler, searcher
from ms2sl.sweep.trial_store import TrialStore
from ms2sl.tracking.tracker import Tracker
from tests.jobs.sweep.examples import CYCLE, settled

SECRETS = ("SECRETofthestore", "PASSWORDofmlflow")


@pytest.mark.parametrize(("search", "kind"), [("random", "asha"), ("random", "pbt"), ("optuna", "asha")])
def test_keys_in_uris_are_not_pickled(search, kind, tmp_path):
    options = settled(
        CYCLE,
        data=f"s3://key:{SECRETS[0]}@bucket/data",
        tracking=f"http://user:{SECRETS[1]}@127.0.0.1:9",
        runs=tmp_path,
        search=search,
        scheduler=kind,
    )
    todo, stopping = pending(options, CYCLE, []), scheduler(options, CYCLE, [])
    algorithm, _, _ = searcher(options, CYCLE, [], todo)
    parent = Tracker(options.tracking, "0123")
    books = TrialRecorder(options, TrialStore(tmp_path / "trials"), parent, stopping, [], todo)
    books.trackers["a"] = Tracker(options.tracking, "4567")
    tune.Tuner(
        lambda config: None,
        tune_config=tune.TuneConfig(search_alg=algorithm, scheduler=stopping),
        run_config=tune.RunConfig(name="tune", storage_path=str(tmp_path), callbacks=[books]),
    )
    written = (tmp_path / "tune" / "tuner.pkl").read_bytes()
    assert b"0123" in written, "the run of the sweep is in it"
    for content in (written, cloudpickle.dumps((books, stopping, algorithm))):
        assert [secret for secret in SECRETS if secret.encode() in content] == []
    assert books.parent is parent, "the sweep itself reports with the password"
    assert options.data == f"s3://key:{SECRETS[0]}@bucket/data"

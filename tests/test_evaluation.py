import pytest

from ms2sl import backtranslation
from ms2sl.backtranslation import recogniser
from ms2sl.dataset import Dataset
from ms2sl.evaluation import MOTION, REAL, evaluate, markdown, recall_in_joint_space, table
from ms2sl.producers.baselines import MeanPose, NearestText, Training
from ms2sl.producers.ms2sl import MS2SLProducer


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def clips(dataset):
    return list(dataset.clips("test"))


@pytest.fixture(scope="module")
def results(dataset, clips, tiny_recogniser):
    training = Training(dataset.clips("train"))
    producers = [(MeanPose(training), ""), (NearestText(training), "text")]
    return list(evaluate(producers, clips, recogniser.load(tiny_recogniser), dataset.skeleton, seed=0))


def test_real_signing_is_the_ceiling(results):
    real = results[0]
    assert real.name == REAL
    assert real.hand_dtw == pytest.approx(0, abs=1e-6)
    assert (real.amplitude, real.length, real.jerk) == pytest.approx((1, 1, 1))


def test_a_signer_who_does_not_move_is_seen_through(results):
    mean = results[1]
    assert mean.amplitude == mean.jerk == 0
    assert mean.hand_dtw > 0.05


def test_the_table_has_a_row_for_each(results):
    lines = markdown(results).splitlines()
    assert len(lines) == 2 + 3
    assert {line.count("|") for line in lines} == {len(MOTION) + 4}


def test_nothing_of_the_real_clip_but_what_is_said_reaches_a_producer(dataset, clips, tiny_checkpoint, tiny_recogniser):
    """A producer that notes what it gets, given clips whose poses, length and gloss are changed."""

    class Listener(MS2SLProducer):
        def produce(self, utterances, *, seed):
            self.heard = [(u.id, u.text, u.seconds, u.speech is None) for u in utterances]
            return super().produce(utterances, seed=seed)

    listener = Listener.load(tiny_checkpoint, steps=1)
    list(evaluate([(listener, "text")], clips, recogniser.load(tiny_recogniser), dataset.skeleton, seed=0))
    assert listener.heard == [(clip.id, clip.text, None, True) for clip in clips]


def test_embeddings_of_an_untrained_model_find_little(clips, tiny_checkpoint):
    producer = MS2SLProducer.load(tiny_checkpoint)
    for modality in ("text", "speech"):
        assert recall_in_joint_space(producer, clips, modality) <= 50


def test_a_reader_of_sentences_gives_their_scores(dataset, clips, tiny_translator):
    reader = backtranslation.load(tiny_translator)
    real, nearest = evaluate([(NearestText(Training(dataset.clips("train"))), "text")], clips, reader, dataset.skeleton, seed=0)
    assert {"bleu_1", "bleu_4", "chrf", "rouge_l", "word_error", "log_likelihood"} <= real.metrics().keys()
    assert real.sentences["log_likelihood"] < 0
    assert table([real, nearest])[0][:4] == ("", "from", "BLEU-4", "WER %")
    assert {len(row) for row in table([real, nearest])} == {4 + len(MOTION)}

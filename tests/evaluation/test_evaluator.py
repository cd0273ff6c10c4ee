from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.evaluate import BASELINES
from ms2sl.corpora.fingerspelling import Fingerspelling, FingerspellingConfig
from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Clip, Placement, Poses
from ms2sl.errors import InputError
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, columns, real_signing
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.inference.sampling_config import Sampling
from ms2sl.metrics.motion import diversity
from ms2sl.systems import back_translation
from ms2sl.systems.baselines import MeanPose
from ms2sl.systems.cascade import OwnSpeechRecognizer
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.training import checkpoint
from tests.conftest import prepare


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def clips(dataset) -> list[Clip]:
    return chosen_clips(dataset, "test", 4)


@pytest.fixture(scope="module")
def sharp_eared(tiny_checkpoint, clips, tmp_path_factory) -> Path:
    """The model with an ear that hears letters of its vocabulary alone, and not the same throughout, as random weights would."""
    producer = MS2SLProducer.load(tiny_checkpoint)
    model, known = producer.model, list(producer.card.characters.encode())
    with torch.no_grad():
        speech = [producer.features(clip.utterance("speech"))[1] for clip in clips]
        batch = producer.collate.batch([None] * len(clips), [None] * len(clips), speech)
        heard = model.conditions(batch)["speech"]
        centred = -(model.ctc.weight[known] @ heard.tokens[heard.mask].mean(dim=0))
        model.ctc.bias.fill_(-1e4)[known] = centred
    folder = tmp_path_factory.mktemp("sharp-eared")
    checkpoint.save(folder, producer.card, model.state_dict())
    assert len(set(OwnSpeechRecognizer(producer)([clip.speech for clip in clips]))) == len(clips)
    return folder


@pytest.fixture(scope="module")
def some(clips) -> list[Clip]:
    return clips[:2]


@pytest.fixture(scope="module")
def judge(dataset, tiny_recogniser) -> Evaluator:
    return Evaluator(dataset, back_translation.load(tiny_recogniser))


QUICK = Sampling(steps=2)


@pytest.fixture
def model(tiny_checkpoint):
    """An entry of the model from a modality."""
    return lambda modality, options=QUICK, **others: SystemUnderTest(
        name="model", kind="ms2sl", modality=modality, source=str(tiny_checkpoint), options=options, **others
    )


def entry(kind: str, modality: str, folders: dict[str, Path]) -> SystemUnderTest:
    source = {
        "ms2sl": folders["plain"],
        "cascade": folders["plain"],
        "cascade that hears": folders["hears"],
        "dictionary": "fingerspelling",
    }
    return SystemUnderTest(
        name=kind,
        kind=kind.split(" that")[0],
        modality=modality,
        source=str(source.get(kind, "")),
        asr="own" if "cascade" in kind else "",
        options=Sampling(steps=2),
    )


def same(one: Sequence[Poses], other: Sequence[Poses]) -> bool:
    """To the bit."""
    return all(
        np.array_equal(a.joints, b.joints) and np.array_equal(a.confidence, b.confidence) and a.fps == b.fps
        for a, b in zip(one, other, strict=True)
    )


def near(one: Poses, other: Poses) -> bool:
    return one.joints.shape == other.joints.shape and np.allclose(one.joints, other.joints, atol=1e-4)


EVERYBODY = [
    ("ms2sl", "text"),
    ("ms2sl", "speech"),
    ("ms2sl", "both"),
    ("cascade", "speech"),
    ("cascade that hears", "speech"),
    ("dictionary", "text"),
    ("nearest text", "text"),
    ("random clip", ""),
    ("static pose", ""),
    ("mean pose", ""),
]


def test_every_baseline_is_among_those_whose_honesty_is_checked():
    assert set(BASELINES) | {"ms2sl", "cascade", "dictionary"} == {kind.split(" that")[0] for kind, _ in EVERYBODY}


@pytest.mark.parametrize(("kind", "modality"), EVERYBODY)
def test_nothing_of_the_real_clip_but_what_is_said_reaches_a_producer(kind, modality, dataset, some, tiny_checkpoint, sharp_eared):
    one = entry(kind, modality, {"plain": tiny_checkpoint, "hears": sharp_eared})
    others = [
        replace(
            clip,
            poses=Poses(clip.poses.joints[:5] + 3, np.ones_like(clip.poses.confidence[:5]), 50.0),
            gloss="GLOSS",
            split="train",
            placement=Placement((1.0, 2.0), 3.0, 640, 480),
            source_fps=99.0,
            remarks=("mended",),
            speech_source="recorded",
        )
        for clip in some
    ]
    (made, failed), (again, failed_again) = (Evaluator(dataset, None).produce(one, clips, seed=3) for clips in (some, others))
    assert same(made, again)
    assert failed == failed_again
    assert bool(failed) is (kind == "cascade"), "an ear that never learned hears what is no text; all others can produce"
    for poses in made:
        SKELETON.check(poses)


# What the ear that never learned hears is no text at all.
@pytest.mark.parametrize(("kind", "modality"), [each for each in EVERYBODY if each[1] and each[0] != "cascade"])
def test_but_what_is_said_does_reach_those_who_listen(kind, modality, dataset, some, tiny_checkpoint, sharp_eared):
    one, judge = entry(kind, modality, {"plain": tiny_checkpoint, "hears": sharp_eared}), Evaluator(dataset, None)
    said = [replace(clip, text=other.text, speech=other.speech) for clip, other in zip(some, some[1:] + some[:1], strict=True)]
    made, _ = judge.produce(one, some, seed=3)
    moved, _ = judge.produce(one, said, seed=3)
    assert not any(near(a, b) for a, b in zip(made, moved, strict=True))
    assert all(near(a, b) for a, b in zip(made[1:] + made[:1], moved, strict=True)), "and nothing else does"


def test_the_modality_alone_decides_what_is_heard(judge, clips, model):
    mute = [replace(clip, speech=None) for clip in clips]
    assert same(judge.produce(model("text"), clips, seed=0)[0], judge.produce(model("text"), mute, seed=0)[0])
    wordless = [replace(clip, text="something else") for clip in clips]
    assert same(judge.produce(model("speech"), clips, seed=0)[0], judge.produce(model("speech"), wordless, seed=0)[0])


def test_the_ceiling_is_the_real_signing(judge, clips):
    made, failed = judge.produce(real_signing(), clips, seed=0)
    assert all(poses is clip.poses for poses, clip in zip(made, clips, strict=True))
    assert not failed
    for row in judge.rows(real_signing(), clips):
        assert (row["label"], row["seed"], row["failed"]) == ("real signing", 0, "")
        assert row["hand_dtw"] == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_produced_is_judged_as_the_mean_pose_and_the_others_as_ever(judge, clips, model):
    unknown = replace(clips[2], text="naïve")
    made, failed = judge.produce(model("text"), [*clips[:2], unknown, *clips[3:]], seed=0)
    as_ever, none = judge.produce(model("text"), clips, seed=0)
    assert list(failed) == [unknown.id]
    assert "learned only" in failed[unknown.id]
    assert not none
    (mean,) = MeanPose(judge.context.training).produce([unknown.utterance("text")], seed=0)
    assert same([made[2]], [mean])
    assert [near(a, b) for a, b in zip(made, as_ever, strict=True)] == [True, True, False, True]


def test_failures_are_marked_in_the_rows(judge, clips, model):
    rows = judge.rows(model("text", seeds=(0, 1)), [clips[0], replace(clips[1], text="naïve")])
    assert ["learned only" in row["failed"] for row in rows] == [False, True, False, True]


def test_a_cascade_from_text_alone_fails_with_all(judge, clips, sharp_eared):
    deaf = SystemUnderTest(name="cascade", kind="cascade", modality="text", source=str(sharp_eared), asr="own", options=Sampling(steps=2))
    made, failed = judge.produce(deaf, clips, seed=0)
    assert list(failed) == [clip.id for clip in clips]
    assert len({poses.joints.tobytes() for poses in made}) == 1


def test_rows_say_whose_they_are(judge, clips, model):
    rows = judge.rows(model("speech", seeds=(5, 7)), clips[:3])
    assert [(row["seed"], row["id"]) for row in rows] == [(seed, clip.id) for seed in (5, 7) for clip in clips[:3]]
    assert {(row["label"], row["steps"]) for row in rows} == {("model from speech", 2)}


def test_diversity_is_that_of_the_seeds_and_unknown_with_one(judge, clips, model):
    assert np.isnan([row["diversity"] for row in judge.rows(model("text"), clips[:2])]).all()
    several = model("text", seeds=(0, 1, 2))
    samples = zip(*(judge.produce(several, clips[:2], seed)[0] for seed in several.seeds), strict=True)
    expected = [diversity(some, SKELETON) for some in samples]
    assert [row["diversity"] for row in judge.rows(several, clips[:2])] == pytest.approx(expected * 3)
    assert min(expected) > 0


def test_somebody_from_several_modalities_is_made_once(judge, model):
    text = judge.producer(model("text"))
    assert judge.producer(model("both", seeds=(4, 5))) is text
    assert judge.producer(model("text").model_copy(update={"name": "other name"})) is text
    slower = judge.producer(model("text", options=Sampling(steps=3)))
    assert slower is not text
    assert (text.options.steps, slower.options.steps) == (2, 3)


def test_how_an_entry_is_sampled_is_how_its_producer_samples(judge, model):
    chosen = judge.producer(model("text", options=Sampling(steps=2, guidance=2.0, sampler="dpm++"))).options
    assert (chosen.steps, chosen.guidance, chosen.sampler) == (2, 2.0, "dpm++")
    assert judge.producer(model("text", options=Sampling(steps=2, guidance=2.0))).options.sampler == "ddim"


def test_columns_are_of_one_entry_by_seed_and_in_the_order_asked_for(model):
    mine = model("text", seeds=(1, 0))
    rows = [
        {"label": label, "steps": steps, "seed": seed, "id": id, "value": value + 10 * seed}
        for label, steps, offset in (("model from text", 2, 0), ("model from text", 4, 50), ("model from speech", 2, 70))
        for seed in (0, 1)
        for value, id in enumerate("abc", start=offset)
    ]
    found = columns(np.random.default_rng(0).permutation(rows), mine, ["c", "a"])
    assert [measures["value"].tolist() for measures in found] == [[12, 10], [2, 0]]
    assert found[0]["id"].tolist() == ["c", "a"]


def test_clips_with_speech_are_preferred(dataset):
    every = list(dataset.clips("train"))
    assert 0 < sum(clip.speech is None for clip in every) < len(every)
    complete = [clip.id for clip in every if clip.text and clip.speech]
    assert [clip.id for clip in chosen_clips(dataset, "train", 100)] == complete
    assert [clip.id for clip in chosen_clips(dataset, "train", 7)] == complete[:7]


def test_clips_without_speech_are_taken_if_there_are_no_others(tmp_path):
    corpus = Fingerspelling(FingerspellingConfig(train=4, dev=1, test=1, missing_speech=1, missing_text=0))
    found = chosen_clips(Dataset(prepare(corpus, tmp_path)), "train", 3)
    assert [clip.id for clip in found] == [f"ase-train-0000{i}" for i in range(3)]
    assert all(clip.text and clip.poses and clip.speech is None for clip in found)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "dictionary", "source": "nowhere"}, "no dictionary of spoken-to-signed"),
        ({"kind": "ms2sl", "source": "nowhere"}, "is no checkpoint"),
        ({"kind": "cascade", "source": "nowhere", "asr": "own"}, "is no checkpoint"),
    ],
)
def test_who_cannot_be_made_is_explained(judge, options, reason):
    with pytest.raises(InputError, match=reason):
        judge.producer(SystemUnderTest(name="x", modality="text", **options))


def test_a_recogniser_is_no_producer(judge, tiny_recogniser):
    with pytest.raises(InputError, match="a recogniser model, not a ms2sl model"):
        judge.producer(SystemUnderTest(name="x", kind="ms2sl", source=str(tiny_recogniser)))


def test_an_entry_goes_by_its_name_and_what_it_hears(model):
    assert (model("both").label, real_signing().label) == ("model from both", "real signing")

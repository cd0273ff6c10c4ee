"""Sentences joined from recordings of single signs."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ms2sl.corpora.composed import Composed, ComposedConfig
from ms2sl.corpora.contract import check
from ms2sl.corpora.signs import Signs, sign_frames
from ms2sl.corpora.stitching import Segment, join
from ms2sl.corpora.takes import Takes, TakesConfig
from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from tests.conftest import prepare
from tests.corpora import builders

GLOSSES = ("COFFEE", "TEA", "SMALL", "LARGE", "I", "LIKE", "PLEASE")
NO_OTHERS = dict.fromkeys(("dev", "test", "unseen_take", "unseen_sentence", "unseen_signer"), 0)  # splits than train
GRAMMAR = {
    "spoken_language": "en",
    "slots": {"drink": {"coffee": "COFFEE", "tea": "TEA"}, "size": {"a small": "SMALL", "a large": "LARGE", "a": ""}},
    "sentences": [
        {"text": "{size} {drink} please", "gloss": "{drink} {size} PLEASE"},
        {"text": "i like {drink}", "gloss": "{drink} I LIKE", "weight": 2},
    ],
}


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    """Of two signers, and of a third one who is in no other split."""
    root = tmp_path_factory.mktemp("takes")
    builders.takes_table(root / "takes.parquet", takes=210, glosses=GLOSSES, signers=("anna", "ben", "eve"))
    corpus = Takes(TakesConfig(source=str(root), table="takes.parquet", unseen_signers="eve", fps=15.0, dev=0.2, test=0.2))
    return prepare(corpus, root / "data")


@pytest.fixture
def grammar(tmp_path):
    path = tmp_path / "grammar.yaml"
    path.write_text(yaml.safe_dump(GRAMMAR))
    return path


def composed(takes, sentences, **options) -> Composed:
    sizes = {"train": 30, "dev": 8, "test": 8, "unseen_take": 8, "unseen_sentence": 8, "unseen_signer": 8}
    shares = {"dev_sentences": 0.3, "test_sentences": 0.3}
    return Composed(ComposedConfig(**{"takes": str(takes), "sentences": str(sentences)} | sizes | shares | options))


def clips(corpus, split):
    return [corpus.clip(i) for i in corpus.splits[split]]


def test_it_keeps_to_the_contract(takes, grammar):
    good, rejected = check(composed(takes, grammar))
    assert rejected == {}
    assert good > 40


def test_signs_are_in_the_order_of_the_gloss_and_at_the_times_that_it_says(takes, grammar):
    corpus = composed(takes, grammar, speed=0)
    clip = next(clip for clip in clips(corpus, "train") if clip.gloss.endswith("I LIKE"))
    drink = clip.text.removeprefix("i like ")
    assert clip.gloss == f"{drink.upper()} I LIKE"
    assert (clip.spoken_language, clip.signed_language) == ("en", "ase")
    signs, known = corpus.signs["train"], clip.poses.confidence
    for gloss, (start, stop) in zip(clip.gloss.split(), clip.gloss_times, strict=True):
        frames = slice(round(start * 15) + 1, round(stop * 15) - 1)
        there = clip.poses.joints[frames]
        near = min(
            np.abs(np.stack([recorded.joints[np.abs(recorded.joints - frame).sum(axis=(1, 2)).argmin()] - frame for frame in there]))[
                known[frames] > 0
            ].max()
            for sign in signs.by_gloss[gloss][clip.signer]
            for recorded in [signs.poses(sign)]
        )
        assert near < 0.05, "every frame of a sign lies on a recording of that sign by that signer"
    assert clip.gloss_times[-1, 1] <= clip.poses.seconds + 1 / 15
    assert (clip.gloss_times[1:, 0] > clip.gloss_times[:-1, 1]).all()


def test_the_way_from_sign_to_sign_does_not_jump(takes, grammar):
    for clip in clips(composed(takes, grammar), "train"):
        seen = (clip.poses.confidence[1:] > 0) & (clip.poses.confidence[:-1] > 0)
        step = np.linalg.norm(np.diff(clip.poses.joints, axis=0), axis=-1)[seen]
        assert step.max() < 0.6  # the fastest that minimum jerk is within the time that it gets: 1.875 × 4 / 15


def test_neither_recordings_nor_sentences_of_a_split_are_in_another(takes, grammar):
    corpus = composed(takes, grammar)
    said = {split: {clip.text for clip in clips(corpus, split)} for split in corpus.splits}
    assert not said["train"] & (said["dev"] | said["test"] | said["unseen_sentence"] | said["unseen_signer"])
    assert not said["dev"] & said["test"]
    assert not said["unseen_take"] & said["test"]
    ids = {
        split: {sign.id for by in signs.by_gloss.values() for some in by.values() for sign in some} for split, signs in corpus.signs.items()
    }
    assert set(ids) == {"train", "dev", "test", "unseen_signer"}
    assert sum(map(len, ids.values())) == len(set().union(*ids.values()))
    who = {split: {clip.signer for clip in clips(corpus, split)} for split in corpus.splits}
    assert who["unseen_signer"] == {"eve"}
    assert who["train"] == {"anna", "ben"}


def test_one_person_signs_a_sentence_or_several_do(takes, grammar):
    assert all(clip.signer for clip in clips(composed(takes, grammar), "train"))
    assert not any(clip.signer for clip in clips(composed(takes, grammar, signers="several"), "train"))
    only = composed(takes, grammar, only_signers="ben", unseen_signer=0)
    assert {clip.signer for clip in clips(only, "train")} == {"ben"}


def test_a_table_of_sentences_says_the_split_if_it_likes(takes, tmp_path):
    (tmp_path / "sentences.csv").write_text("text,gloss,split\ni like tea,TEA I LIKE,train\nsmall coffee,COFFEE SMALL,val\ntea,TEA,test\n")
    corpus = composed(takes, tmp_path / "sentences.csv", spoken_language="en")
    assert {clip.text for clip in clips(corpus, "train")} == {"i like tea"}
    assert {clip.text for clip in clips(corpus, "dev")} == {"small coffee"}
    assert {clip.gloss for clip in clips(corpus, "test")} == {"TEA"}


def test_words_that_yaml_takes_for_truth_values_are_words(takes, grammar):
    sentences = [{"text": "{answer} tea please", "gloss": "TEA PLEASE"}]
    grammar.write_text(yaml.safe_dump(GRAMMAR | {"sentences": sentences}) + "\n")
    grammar.write_text(grammar.read_text().replace("slots:", "slots:\n  answer: [yes, no, on, off, 1]"))
    said = {
        clip.text for clip in clips(composed(takes, grammar, dev=0, test=0, unseen_take=0, unseen_sentence=0, unseen_signer=0), "train")
    }
    assert said <= {f"{word} tea please" for word in ("yes", "no", "on", "off", "1")}


def test_a_sentence_whose_slots_are_all_empty_is_none(takes, grammar):
    change = {"sentences": [{"text": "{polite}{drink}", "gloss": "{drink}"}]}
    change["slots"] = {"polite": {"": ""}, "drink": {"tea": "TEA", "": ""}}
    grammar.write_text(yaml.safe_dump(GRAMMAR | change))
    alone = composed(takes, grammar, **NO_OTHERS, dev_sentences=0, test_sentences=0)
    assert {clip.text for clip in clips(alone, "train")} == {"tea"}


def test_the_signed_language_is_that_of_the_signs_that_are_in_it(tmp_path):
    for folder, language in (("one", "ase"), ("two", "ins")):
        builders.takes_table(tmp_path / folder / "takes.parquet", takes=60, glosses=(f"TEA-{language}", "I"), signers=(language,))
    rows = [row for folder in ("one", "two") for row in pq.read_table(tmp_path / folder / "takes.parquet").to_pylist()]
    for i, row in enumerate(rows):
        row |= {"id": str(i), "signed_language": row["signer"]}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "takes.parquet")
    corpus = Takes(TakesConfig(source=str(tmp_path), table="takes.parquet", fps=15.0, dev=0, test=0))
    (tmp_path / "sentences.csv").write_text("text,gloss,split\ntea,TEA-ase,train\ni tea,I TEA-ins,train\n")
    made = clips(composed(prepare(corpus, tmp_path / "data"), tmp_path / "sentences.csv", **NO_OTHERS), "train")
    assert {(clip.text, clip.signed_language) for clip in made} == {("tea", "ase"), ("i tea", "ins")}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sentences": [{"text": "milk", "gloss": "MILK"}]}, "glosses without a recording: MILK; there are: COFFEE, I, LARGE"),
        ({"sentences": [{"text": "{colour} tea", "gloss": "TEA"}]}, "a slot 'colour' that is not under slots; there are: drink, size"),
        ({"sentences": [{"text": "tea", "gloss": "{drink}"}]}, "the slot 'drink' stands in the gloss '{drink}', but not in the text 'tea'"),
        ({"sentences": [{"text": "tea", "gloss": "TEA", "weight": 0}]}, "greater than 0"),
        ({"sentences": []}, "at least 1 item"),
        ({"slot": {}}, "unknown key 'slot'"),
    ],
)
def test_a_grammar_that_cannot_be_signed_is_refused(takes, grammar, change, reason):
    grammar.write_text(yaml.safe_dump(GRAMMAR | change))
    with pytest.raises(InputError) as refused:
        composed(takes, grammar).plans  # noqa: B018
    assert reason in str(refused.value)


def test_what_cannot_be_composed_is_told(takes, grammar, tmp_path):
    with pytest.raises(InputError, match=r"say where the takes are: --composed\.takes"):
        Composed(ComposedConfig())
    (tmp_path / "one.csv").write_text("text,gloss\ntea,TEA\n")
    with pytest.raises(InputError, match=r"no sentence for the split .* none came"):
        composed(takes, tmp_path / "one.csv").plans  # noqa: B018
    (tmp_path / "one.pdf").write_text("")
    with pytest.raises(InputError, match=r"a grammar is \.yaml or \.yml, a table one of"):
        composed(takes, tmp_path / "one.pdf").plans  # noqa: B018


def test_nobody_who_has_all_signs_is_told(takes, tmp_path):
    dataset = Dataset(takes)
    signs = Signs(dataset, "train")
    assert signs.signers(("TEA", "COFFEE")) == ["anna", "ben"]
    assert signs.signers(("TEA", "MILK")) == []


def test_a_sign_is_its_movement_with_a_little_before_and_after():
    rest = builders.signing(HOLISTIC_49X2, 50).joints[:1].repeat(50, axis=0)
    confidence = np.ones(rest.shape[:2], np.float32)
    confidence[:10, HOLISTIC_49X2.hands] = 0
    still = Poses(rest, confidence, 25.0)
    assert sign_frames(still, HOLISTIC_49X2) == (25, 35)  # 0.4 s in the middle of where hands are seen
    moved = rest.copy()
    moved[20:30, HOLISTIC_49X2.hands] += np.linspace(0, 1, 10)[:, None, None]
    moved[30:, HOLISTIC_49X2.hands] += 1
    assert sign_frames(Poses(moved, confidence, 25.0), HOLISTIC_49X2) == (16, 35)
    assert sign_frames(Poses(rest, np.zeros_like(confidence), 25.0), HOLISTIC_49X2) is None


def test_signs_are_cut_from_sentences_by_their_gloss_times(takes, grammar):
    source = prepare(composed(takes, grammar, signers="one"), takes.parent / "sentences")
    signs = Signs(Dataset(source), "train")
    clip = next(Dataset(source).clips("train"))
    gloss, (start, stop) = clip.gloss.split()[1], clip.gloss_times[1]
    sign = next(sign for some in signs.by_gloss[gloss].values() for sign in some if sign.id == clip.id)
    assert (sign.start, sign.stop) == (int(start * 15), round(float(stop) * 15))
    assert np.array_equal(signs.poses(sign).joints, clip.poses.joints[sign.start : sign.stop])


def test_a_text_is_in_one_split_however_it_is_signed(takes, grammar):
    sentences = [
        {"text": "i like {drink} {size}", "gloss": gloss} for gloss in ("I LIKE {size} {drink}", "{drink} {size} I LIKE", "{drink} I")
    ]
    grammar.write_text(yaml.safe_dump(GRAMMAR | {"sentences": [*GRAMMAR["sentences"], *sentences]}))
    corpus = composed(takes, grammar, train=200)
    said = {split: {clip.text for clip in clips(corpus, split)} for split in ("train", "dev", "test")}
    assert not said["train"] & said["test"]
    assert not said["train"] & said["dev"]


def test_a_table_that_puts_a_sentence_into_two_splits_is_refused(takes, tmp_path):
    (tmp_path / "two.csv").write_text("text,gloss,split\ni like tea,I LIKE TEA,train\nI like  tea,TEA I LIKE,test\n")
    with pytest.raises(InputError, match=r"two\.csv, line 3: 'I like tea' is in the split 'train' too"):
        composed(takes, tmp_path / "two.csv").plans  # noqa: B018


def test_a_rare_split_of_a_long_table_is_found(takes, tmp_path):
    rows = [f"tea {number},TEA,train" for number in range(5000)]
    (tmp_path / "long.csv").write_text("\n".join(["text,gloss,split", *rows, "rare,TEA,test"]))
    corpus = composed(takes, tmp_path / "long.csv", **NO_OTHERS | {"test": 5})
    assert {clip.text for clip in clips(corpus, "test")} == {"rare"}


def test_signs_last_as_long_as_they_were_recorded(takes, grammar):
    corpus = composed(takes, grammar, speed=0, **NO_OTHERS)
    for index in list(corpus.splits["train"])[:10]:
        clip, signs = corpus.clip(index), corpus.signs["train"]
        lengths = [(sign.stop - sign.start) / 15 for some in signs.by_gloss[clip.gloss.split()[0]].values() for sign in some]
        assert min(abs(np.diff(clip.gloss_times[0])[0] - length) for length in lengths) < 0.011


def test_nobody_of_that_name_is_told(takes, grammar):
    with pytest.raises(InputError, match=r"--composed\.only-signers: there is no anne in the split"):
        composed(takes, grammar, only_signers="anne").plans  # noqa: B018


@pytest.mark.parametrize("fps", [1, 7, 12.5, 24, 29, 29.97, 31, 58, 60, 62, 100, 116, 124, 200])
def test_signs_are_joined_at_any_number_of_frames_a_second(fps):
    sign = Segment(np.zeros((100, 3, 2)), np.ones((100, 3)))
    joints, confidence, times = join([sign], [], fps)
    assert len(joints) == len(confidence) == pytest.approx(fps, abs=1.01)
    assert times.tolist() == [[0, 1]]

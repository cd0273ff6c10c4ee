import pytest
import torch

from ms2sl.nn.vocabulary import END, PAD, UNKNOWN, Vocabulary

TEXTS = ["es regnet im norden", "im süden scheint die sonne", "Es  regnet WEITER", "die sonne scheint im norden"]


@pytest.mark.parametrize("kind", ["characters", "words", "bpe"])
def test_a_text_comes_back_in_plain_form(kind):
    vocabulary = Vocabulary.learn(TEXTS, kind, 200)
    ids = vocabulary.encode(TEXTS)
    assert vocabulary.decode(ids) == [
        "es regnet im norden",
        "im süden scheint die sonne",
        "es regnet weiter",
        "die sonne scheint im norden",
    ]
    again = Vocabulary.load(vocabulary.dump())
    assert torch.equal(again.encode(TEXTS), ids)
    assert len(again) == len(vocabulary) > UNKNOWN + 1
    assert (ids == END).sum().item() == 4
    assert int(ids.max()) < len(vocabulary)


def test_characters_keep_doubled_ones_and_spaces():
    vocabulary = Vocabulary.learn(["abba a"], "characters", 10)
    assert vocabulary.decode(vocabulary.encode(["abba  ab", "b"])) == ["abba ab", "b"]


def test_a_clip_without_text_is_all_padding_and_unknown_words_are_marked():
    vocabulary = Vocabulary.learn(TEXTS, "words", 200)
    ids = vocabulary.encode([None, "es schneit im norden"])
    assert (ids[0] == PAD).all()
    assert ids[1].tolist().count(UNKNOWN) == 1
    assert vocabulary.decode(ids) == ["", "es <unk> im norden"]


def test_a_vocabulary_has_at_most_so_many_pieces():
    assert len(Vocabulary.learn(TEXTS, "bpe", 40)) <= 40
    assert len(Vocabulary.learn(TEXTS, "words", 6)) <= 6

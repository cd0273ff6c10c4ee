"""What is said of an utterance that a model signs otherwise than it is asked to."""

from dataclasses import replace

import numpy as np
import pytest

from ms2sl.audio.speech import Speech
from ms2sl.data.types import Utterance
from ms2sl.systems.registry import system
from ms2sl.training.checkpoint import ModelCard, read_card

MS2SL = system("ms2sl")


@pytest.fixture
def card(tiny_checkpoint) -> ModelCard:
    return read_card(tiny_checkpoint)


def learned_from(card: ModelCard, *languages: str) -> ModelCard:
    return card.model_copy(update={"signed_languages": languages})


@pytest.mark.parametrize(
    ("learned", "asked", "remark"),
    [
        (["ase"], "ase", None),
        (["ase"], None, None),
        (["ase"], "und", None),
        (["ase"], "bfi", "signed_language bfi is ignored: the model signs as it learned, from ase"),
        (["ase", "und"], "bfi", "signed_language bfi is ignored: the model signs as it learned, from ase"),
        (["ase", "gsg"], "gsg", "signed_language gsg cannot be chosen: the model learned ase and gsg, and signs without knowing which"),
        ([], "bfi", None),
        (["und"], "bfi", None),
        (["German Sign Language"], "gsg", None),
    ],
)
def test_there_is_a_remark_where_the_model_knows_another_language_than_is_asked_for(card, learned, asked, remark):
    assert MS2SL.language_remark(learned_from(card, *learned), asked) == remark
    assert MS2SL.remarks(learned_from(card, *learned), Utterance("u", text="cab", signed_language=asked)) == ((remark,) if remark else ())


def test_a_system_that_takes_the_language_gets_it_and_there_is_no_remark(card):
    assert replace(MS2SL, inputs=MS2SL.inputs | {"language"}).language_remark(card, "bfi") is None


def test_there_is_a_remark_where_a_signer_is_asked_for_and_the_model_knows_none_apart(card):
    apart = card.model_copy(update={"choices": {"signer": ("anna", "ben")}})
    remark = "signer anna is ignored: the model does not tell signers apart"
    assert MS2SL.remarks(card, Utterance("u", text="cab", signer="anna")) == (remark,)
    assert replace(MS2SL, inputs=MS2SL.inputs | {"signer"}).signer_remark(card, "anna") is None
    assert MS2SL.remarks(card, Utterance("u", text="cab")) == MS2SL.remarks(apart, Utterance("u", text="cab", signer="anna")) == ()


def test_remarks_on_the_recording_stand_before_that_on_the_language(card):
    speech = Speech(np.zeros(16_000, np.float32), 16_000, remarks=("it breaks off",))
    utterance = Utterance("u", speech=speech, signed_language="bfi")
    assert MS2SL.remarks(card, utterance) == ("it breaks off", MS2SL.language_remark(card, "bfi"))


def test_a_card_of_before_cards_had_languages_knows_none(card):
    old = {name: value for name, value in card.model_dump(mode="json").items() if name not in ("signed_languages", "spoken_languages")}
    read = ModelCard.model_validate(old)
    assert (read.signed_languages, read.spoken_languages) == ((), ())
    assert MS2SL.language_remark(read, "bfi") is None


def test_a_card_knows_the_languages_of_the_clips_that_it_learned_from(card):
    assert (card.signed_languages, card.spoken_languages) == (("ase",), ("en",))

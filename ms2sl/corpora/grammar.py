"""Sentences to sign: templates with slots in a YAML file, or a table of sentences with their glosses.

spoken_language: en
slots:
  size: {small: SMALL, large: LARGE}       # what is said: how it is signed; several signs with spaces between them
  drink: [coffee, tea]                     # signed as it is said
sentences:
  - {text: "can i get a {size} {drink}", gloss: "{size} {drink} CAN I GET"}   # signs may have another order than words
  - {text: "i like {drink}", gloss: "I LIKE {drink}", weight: 2}              # comes twice as often
"""

import math
import re
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import yaml
from pydantic import Field, ValidationError, field_validator

from ms2sl.config import Config, explain
from ms2sl.corpora.records import drawn_split
from ms2sl.errors import InputError
from ms2sl.io.file_names import split_name
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import KINDS, read_table
from ms2sl.text_normalization import normalise, plain

SLOT = re.compile(r"\{([^{}]*)\}")
COLUMNS = {name: (name,) for name in ("text", "gloss", "split")}
FORMS = (".yaml", ".yml")


class Sentence(Config):
    """What is said and the signs of it in their order; split: where it belongs, "" where that is not said."""

    text: str
    glosses: tuple[str, ...]
    split: str = ""


class Template(Config):
    """A sentence with slots ``{name}`` in text and gloss; weight: how often it comes."""

    text: str
    gloss: str
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)


class Grammar(Config):
    """All sentences that templates and slots make.

    Raises InputError for a slot that is not defined, or stands in the gloss but not in the text.
    """

    spoken_language: str = "und"
    slots: dict[str, dict[str, str]] = Field(default_factory=dict)
    sentences: tuple[Template, ...] = Field(min_length=1)

    @field_validator("slots", mode="before")
    @classmethod
    def _signed_as_said(cls, slots: object) -> object:
        if not isinstance(slots, Mapping):
            return slots
        return {name: {word: word for word in words} if _are_words(words) else words for name, words in slots.items()}

    @cached_property
    def named(self) -> list[list[str]]:
        """The slots of each template."""
        found = []
        for template in self.sentences:
            said, signed = (list(dict.fromkeys(SLOT.findall(part))) for part in (template.text, template.gloss))
            for name in [*said, *signed]:
                if not self.slots.get(name):
                    there = ", ".join(self.slots) or "none"
                    raise InputError(f"'{template.text}' has a slot '{name}' that is not under slots; there are: {there}")
            if silent := [name for name in signed if name not in said]:
                raise InputError(f"the slot '{silent[0]}' stands in the gloss '{template.gloss}', but not in the text '{template.text}'")
            found.append(said)
        return found

    @property
    def count(self) -> int:
        """How many sentences it makes."""
        return sum(math.prod(len(self.slots[name]) for name in names) for names in self.named)

    @property
    def glosses(self) -> set[str]:
        """Of all its sentences."""
        fixed = [SLOT.sub(" ", each.gloss) for each in self.sentences]
        signed = {name for each in self.sentences for name in SLOT.findall(each.gloss)}
        return {
            gloss
            for words in map(normalise, [*fixed, *(sign for name in signed for sign in self.slots[name].values())])
            for gloss in words.split()
        }

    def draw(self, rng: np.random.Generator) -> Sentence:
        """A sentence: a template by weight, the words of its slots uniformly."""
        weights = np.array([each.weight for each in self.sentences])
        number = int(rng.choice(len(weights), p=weights / weights.sum()))
        words = {name: list(self.slots[name])[rng.integers(len(self.slots[name]))] for name in self.named[number]}
        template = self.sentences[number]
        return Sentence(
            text=normalise(SLOT.sub(lambda found: words[found[1]], template.text)),
            glosses=tuple(normalise(SLOT.sub(lambda found: self.slots[found[1]][words[found[1]]], template.gloss)).split()),
        )


class SentenceList:
    """Sentences of a table with ``text``, ``gloss`` and perhaps ``split``; each comes as often as the others."""

    spoken_language = "und"

    def __init__(self, sentences: list[Sentence]):
        self.sentences = sentences

    @property
    def count(self) -> int:
        return len(self.sentences)

    @property
    def glosses(self) -> set[str]:
        return {gloss for sentence in self.sentences for gloss in sentence.glosses}

    def of(self, split: str, dev: float, test: float) -> "SentenceList":
        """Those of a split."""
        return SentenceList([sentence for sentence in self.sentences if split_of(sentence, dev, test) == split])

    def draw(self, rng: np.random.Generator) -> Sentence:
        return self.sentences[rng.integers(len(self.sentences))]


def _are_words(words: object) -> bool:
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def split_of(sentence: Sentence, dev: float, test: float) -> str:
    """Where a sentence belongs: by what it says alone, so that a grammar that grows keeps its test sentences."""
    return sentence.split or drawn_split(plain(sentence.text), dev, test)


def read_sentences(where: StoragePath) -> Grammar | SentenceList:
    """Raises InputError if the file is none, or holds no sentence."""
    if where.name.lower().endswith(FORMS):
        return _grammar(where)
    if not where.name.lower().endswith(tuple(KINDS)):
        raise InputError(f"{where} is of no kind that is read here: a grammar is {' or '.join(FORMS)}, a table one of {', '.join(KINDS)}")
    sentences: list[Sentence] = []
    found: dict[str, str] = {}
    for place, row in read_table(where, COLUMNS, required=("text", "gloss"), whole=("text", "gloss")):
        split = split_name(row["split"], f"{place}: the split") if "split" in row else ""
        try:
            text, gloss = normalise(row["text"]), normalise(row["gloss"])
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        if found.setdefault(plain(text), split) != split:
            raise InputError(f"{place}: '{text}' is in the split '{found[plain(text)]}' too: a sentence belongs to one")
        sentences.append(Sentence(text=text, glosses=tuple(gloss.split()), split=split))
    if not sentences:
        raise InputError(f"{where} has no sentence")
    return SentenceList(sentences)


def _grammar(where: StoragePath) -> Grammar:
    try:
        content = yaml.load(where.read_text(), yaml.BaseLoader)  # texts alone: no, on and yes are words
    except yaml.YAMLError as error:
        raise InputError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{where} holds no grammar: it has slots and sentences")
    try:
        grammar = Grammar.model_validate(content)
        grammar.named  # noqa: B018  raises for a slot that is not there
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error, Grammar)}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return grammar

"""Pieces of text that a back-translator writes: characters, words, or byte pairs learned from the training texts."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ms2sl.text_normalization import plain

VocabularyKind = Literal["characters", "words", "bpe"]
PAD, END, UNKNOWN = 0, 1, 2
SPECIAL = ["<pad>", "</s>", "<unk>"]


class Vocabulary:
    """Text ↔ ids. Texts are compared in plain form, as everywhere: lower case, single spaces."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    @classmethod
    def learn(cls, texts: Iterable[str], kind: VocabularyKind, size: int) -> "Vocabulary":
        """From the texts of training; ``size`` is the most pieces that words and bpe have."""
        special = {"special_tokens": SPECIAL, "show_progress": False}
        if kind == "characters":
            tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL[UNKNOWN]))
            tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
            tokenizer.decoder = decoders.Fuse()
            trainer = trainers.WordLevelTrainer(vocab_size=100_000, **special)
        elif kind == "words":
            tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL[UNKNOWN]))
            tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
            trainer = trainers.WordLevelTrainer(vocab_size=size, **special)
        else:
            tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
            tokenizer.decoder = decoders.Metaspace()
            trainer = trainers.BpeTrainer(vocab_size=size, **special)
        tokenizer.train_from_iterator((plain(text) for text in texts), trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, serialised: str) -> "Vocabulary":
        return cls(Tokenizer.from_str(serialised))

    def dump(self) -> str:
        return self.tokenizer.to_str()

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str | None]) -> torch.Tensor:
        """Ids ``(batch, pieces)``, each row with its end and then padding; a text that is None is all padding."""
        rows = [[] if text is None else [*self.tokenizer.encode(plain(text)).ids, END] for text in texts]
        padded = torch.full((len(rows), max(1, *map(len, rows), 1)), PAD)
        for row, ids in zip(padded, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        return padded

    def decode(self, ids: torch.Tensor) -> list[str]:
        """Texts of ``(batch, pieces)``, each up to its end."""
        texts = []
        for row in ids.tolist():
            ended = row[: row.index(END)] if END in row else row
            texts.append(self.tokenizer.decode([i for i in ended if i != PAD], skip_special_tokens=False))
        return texts

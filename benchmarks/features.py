"""CLIP and HuBERT features against ``transformers`` as it comes: fp32, in the order of arrival, texts padded to 77 tokens.

    python -m benchmarks.features

Encoders have the sizes of clip-vit-base-patch32 and hubert-base-ls960 and random weights. Texts are 5 to 25 words of a token each,
recordings 2 to 8 seconds. The cosine is the smallest, of any token or frame, to what stock fp32 says of each input alone.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    HubertConfig,
    HubertModel,
    PreTrainedTokenizerFast,
    Wav2Vec2FeatureExtractor,
)

from benchmarks.common import machine, save
from ms2sl.audio.speech import Speech
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig

BATCH = {"texts": 32, "audio": 8}


def clip(folder: Path) -> list[str]:
    words = files("ms2sl.corpora").joinpath("words_en.txt").read_text(encoding="utf-8").split()
    vocabulary = [*dict.fromkeys(words), "<s>", "</s>", "<unk>"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(word, vocabulary.index(word)) for word in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=77, **special).save_pretrained(folder)
    CLIPTextModel(CLIPTextConfig(vocab_size=49408, eos_token_id=ends[1][1])).save_pretrained(folder)
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, rng.integers(5, 26))) for _ in range(128)]


def hubert(folder: Path) -> list[Speech]:
    HubertModel(HubertConfig()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    rng = np.random.default_rng(0)
    return [Speech((0.1 * rng.normal(size=rng.integers(32_000, 128_000))).astype(np.float32), 16_000) for _ in range(16)]


def stock_clip(folder: Path) -> Callable[[list[str]], list[np.ndarray]]:
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def encode(texts: list[str]) -> list[np.ndarray]:
        found = []
        for start in range(0, len(texts), BATCH["texts"]):
            tokens = tokenizer(texts[start : start + BATCH["texts"]], padding="max_length", max_length=77, return_tensors="pt")
            states = model(**tokens).last_hidden_state.numpy()
            found += [state[:n] for state, n in zip(states, tokens["attention_mask"].sum(dim=1), strict=True)]
        return found

    return encode


def stock_hubert(folder: Path, batch: int) -> Callable[[list[Speech]], list[np.ndarray]]:
    model, extractor = AutoModel.from_pretrained(folder).eval(), Wav2Vec2FeatureExtractor.from_pretrained(folder)

    @torch.inference_mode()
    def encode(speeches: list[Speech]) -> list[np.ndarray]:
        found = []
        for start in range(0, len(speeches), batch):
            waves = [speech.waveform for speech in speeches[start : start + batch]]
            values = extractor(waves, sampling_rate=16_000, padding=True, return_tensors="pt").input_values
            states = model(values).last_hidden_state.numpy()
            counts = [int(model._get_feat_extract_output_lengths(torch.tensor(len(wave)))) for wave in waves]
            found += [state[:n] for state, n in zip(states, counts, strict=True)]
        return found

    return encode


def cosine(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(ours, theirs, strict=True)]
    return min(float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min()) for a, b in pairs)


def compare(name: str, amount: float, unit: str, ours: Callable, theirs: Callable, reference: list[np.ndarray], rounds: int) -> tuple:
    """A row of the table; the two run in turn."""
    agreement = cosine(ours(), reference)
    speeds: list[tuple[float, float]] = []
    for _ in range(rounds):
        times = []
        for run in (ours, theirs):
            start = time.perf_counter()
            run()
            times.append(amount / (time.perf_counter() - start))
        speeds.append((times[0], times[1]))
    medians = [statistics.median(speed[i] for speed in speeds) for i in (0, 1)]
    ratio = statistics.median(a / b for a, b in speeds)
    return name, f"{medians[1]:.1f} {unit}", f"{medians[0]:.1f} {unit}", f"{ratio:.1f}", f"{agreement:.5f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    rows = [("", "stock transformers, fp32", "here", "ratio", "cosine")]
    with tempfile.TemporaryDirectory() as folder:
        texts, speeches = clip(Path(folder) / "clip"), hubert(Path(folder) / "hubert")
        stock = stock_clip(Path(folder) / "clip")
        alone = stock_hubert(Path(folder) / "hubert", 1)(speeches)
        batched = stock_hubert(Path(folder) / "hubert", BATCH["audio"])
        seconds = sum(speech.seconds for speech in speeches)
        for precision in ("bf16", "fp32"):
            text = featurizer(TextConfig(featurizer="clip", weights=f"{folder}/clip", precision=precision), "text")
            speech = featurizer(SpeechConfig(featurizer="hubert", weights=f"{folder}/hubert", precision=precision), "speech")
            encode = {"CLIP": lambda text=text: text(texts), "HuBERT": lambda speech=speech: speech(speeches)}
            rows.append(compare(f"CLIP, {precision}", len(texts), "texts/s", encode["CLIP"], lambda: stock(texts), stock(texts), rounds))
            plain = (lambda: batched(speeches), alone, rounds)
            rows.append(compare(f"HuBERT, {precision}", seconds, "s of audio/s", encode["HuBERT"], *plain))
    save("features", f"{rounds} rounds. {machine()}", rows)


if __name__ == "__main__":
    main()

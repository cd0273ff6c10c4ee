"""Tiny checkpoints with random weights, of the real classes."""

import string
from pathlib import Path

import torch
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    HubertConfig,
    HubertModel,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
SPEECH = TEXT | {
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,  # 16 channels each; oneDNN is wrong in bf16 with 4 or 8 on processors with AMX (torch 2.13)
}


def clip(folder: Path) -> Path:
    """A whole CLIP, of which the text encoder alone is used; characters are its tokens."""
    torch.manual_seed(0)
    characters = [*string.ascii_lowercase, *string.digits, *",.'?!"]
    words = [*characters, *(f"{character}</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77).save_pretrained(folder)
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    text = CLIPTextConfig(vocab_size=len(words), **TEXT, **ends)
    vision = TEXT | {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision)).save_pretrained(folder)
    return folder


def multilingual_clip(folder: Path) -> Path:
    """An AltCLIP, whose text encoder is an XLM-R that looks both ways."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    words = ["<s>", "<pad>", "</s>", "<unk>", *string.ascii_lowercase, "ä", "ö", "ü", "ß"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=60, **special).save_pretrained(folder)
    text = TEXT | {"vocab_size": len(words), "max_position_embeddings": 64, "project_dim": 32, "pad_token_id": 1}
    vision = TEXT | {"image_size": 32, "patch_size": 16}
    AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    return folder


def speech_encoder(folder: Path, kind: str) -> Path:
    """``hubert`` (convolutions normalised over the whole recording), ``hubert-large`` (layer-normalised), ``wav2vec2`` or ``wavlm``."""
    torch.manual_seed(0)
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    config, model = {
        "hubert": (HubertConfig(**SPEECH), HubertModel),
        "hubert-large": (HubertConfig(**SPEECH, **large), HubertModel),
        "wav2vec2": (Wav2Vec2Config(**SPEECH), Wav2Vec2Model),
        "wavlm": (WavLMConfig(**SPEECH), WavLMModel),
    }[kind]
    model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=kind == "hubert-large").save_pretrained(folder)
    return folder

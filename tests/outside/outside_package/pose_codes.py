"""A system from outside the project that is trained in two stages: a tokenizer of poses, and a prior of its codes given the text.

It is known to the project by its entry point alone.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from pose_codes_model import Codes, PriorConfig, Tokenizer, TokenizerConfig
from pydantic import Field
from torch.nn import functional as F

from ms2sl.config import Config
from ms2sl.data.batch_sampler import split_batches
from ms2sl.data.collate import POSES, Collate, FieldSpec, padded
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.inference.producer import WholeProducer
from ms2sl.nn.losses import masked_mean
from ms2sl.systems.registry import System
from ms2sl.training import checkpoint
from ms2sl.training.distributed import all_sum
from ms2sl.training.loop import TrainingConfig

KIND, LETTER_SECONDS = "codes", 0.4


class TokenizerStage(Config):
    model: TokenizerConfig = TokenizerConfig()
    training: TrainingConfig = TrainingConfig(steps=400)
    commitment: float = Field(0.25, ge=0, description="weight of the distance of what is encoded to its code")


class PriorStage(Config):
    model: PriorConfig = PriorConfig()
    training: TrainingConfig = TrainingConfig(steps=800)


class CodesConfig(Config):
    tokenizer: TokenizerStage = TokenizerStage()
    prior: PriorStage = PriorStage()


def letters(table, collate):
    return padded([None if text is None else np.frombuffer(text.encode(), np.uint8) for text in table["text"].to_pylist()], ids=True)


class CodesTask:
    def __init__(self, dataset, card, module):
        self.dataset, self.card, self.module, described = dataset, card, module, dataset.card
        self.collate = Collate(described.skeleton, described.text, described.speech, (POSES, FieldSpec("letters", ("text",), letters)))
        self._averaged = copy.deepcopy(module).eval()

    @torch.no_grad()
    def validate(self, weights, rank, world_size, device):
        self._averaged.to(device).load_state_dict(weights)
        sums = {"loss": 0.0, "clips": 0.0}
        for batch in split_batches(self.dataset, self.dataset.validation, self.collate, 16, rank, world_size):
            sums["loss"] += float(self.loss(self._averaged, batch.to(device), None)["loss"]) * len(batch)
            sums["clips"] += len(batch)
        sums = all_sum(sums, device)
        return {"dev_loss": sums["loss"] / sums["clips"]}

    def save(self, folder, weights):
        checkpoint.save(folder, self.card, weights)


class TokenizerTask(CodesTask):
    def __init__(self, dataset, options, card, earlier):
        super().__init__(dataset, card, Tokenizer(options.model, dataset.skeleton))
        self.module.space.set_statistics(dataset.card.statistics)
        self.commitment = options.commitment

    def loss(self, module, batch, generator):
        _, error, distance = module(batch.poses, batch.seen)
        return {"loss": error + self.commitment * distance, "reconstruction": error}


class PriorTask(CodesTask):
    def __init__(self, dataset, options, card, earlier):
        tokenizer = checkpoint.model_config(card, TokenizerConfig, earlier["tokenizer"], "tokenizer")
        super().__init__(dataset, card, Codes(tokenizer, options.model, dataset.skeleton))
        checkpoint.load_weights(self.module.tokenizer, earlier["tokenizer"])

    def loss(self, module, batch, generator):
        with torch.no_grad():
            codes = self.module.tokenizer(batch.poses, batch.seen)[0]  # frozen, so that of either module is the same
        logits, _ = module(F.pad(codes + 1, (1, -1)), batch["letters"].values, batch["letters"].lengths)
        return {"loss": masked_mean(F.cross_entropy(logits.mT, codes, reduction="none"), batch.seen.any(-1))}


class CodesProducer(WholeProducer):
    name = KIND

    def __init__(self, source, context):
        self.card = checkpoint.read_card(Path(source), KIND)
        self.skeleton, self.fps = self.card.skeleton, self.card.fps
        config = {"tokenizer": TokenizerConfig, "prior": PriorConfig}
        shapes = [checkpoint.model_config(self.card, kind, Path(source), stage) for stage, kind in config.items()]
        self.model = Codes(*shapes, self.skeleton).eval()
        checkpoint.load_weights(self.model, Path(source))

    def check(self, utterance):
        if utterance.text is None:
            raise InputError(f"{utterance.id}: codes are of text alone")

    @torch.no_grad()
    def sign(self, utterances, options, seed):
        return [self._sign(utterance) for utterance in utterances]

    def _sign(self, utterance):
        ids, made, state = torch.tensor([list(utterance.text.encode())]), [torch.tensor([[-1]])], None
        for _ in range(max(1, round((utterance.seconds or LETTER_SECONDS * len(utterance.text)) * self.fps))):
            logits, state = self.model(made[-1] + 1, ids, torch.tensor([ids.shape[1]]), state)
            made.append(logits.argmax(-1))
        joints = self.model.tokenizer.decode(torch.cat(made[1:], 1))[0].numpy()
        return Poses(joints, np.ones(joints.shape[:2], np.float32), self.fps)


SYSTEM = System(
    KIND, "Codes of poses, one after the other.", frozenset({"text"}), "poses", CodesProducer, CodesConfig,
    stages={"tokenizer": TokenizerTask, "prior": PriorTask},
)  # fmt: skip

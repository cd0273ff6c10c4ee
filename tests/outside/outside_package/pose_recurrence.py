"""A system from outside the project: each pose is made from the one before and from the text.

It has a config, a field of batches and an option of its own, and is known to the project by its entry point alone.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ms2sl.config import Config
from ms2sl.data.batch_sampler import split_batches
from ms2sl.data.collate import POSES, Collate, FieldSpec, padded
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.inference.producer import Producer
from ms2sl.nn.losses import masked_mean
from ms2sl.systems.registry import System
from ms2sl.training import checkpoint
from ms2sl.training.distributed import all_sum

KIND, CHUNK, LETTER_SECONDS = "recurrence", 8, 0.4


class RecurrenceConfig(Config):
    width: int = Field(32, gt=0, description="width of its GRU")


class Options(Config):
    restlessness: float = Field(0.0, ge=0, le=1, description="noise on each pose", json_schema_extra={"service_limit": 0.5})


def letters(table, collate):
    return padded([None if text is None else np.frombuffer(text.encode(), np.uint8) for text in table["text"].to_pylist()], ids=True)


class Recurrence(nn.Module):
    def __init__(self, config, features):
        super().__init__()
        self.letters = nn.Embedding(256, config.width)
        self.gru = nn.GRU(features + config.width, config.width, batch_first=True)
        self.head = nn.Linear(config.width, features)

    def forward(self, poses, ids, n_letters, state=None):
        real = torch.arange(ids.shape[1], device=ids.device) < n_letters[:, None]
        said = (self.letters(ids) * real[..., None]).sum(1, keepdim=True) / n_letters.clamp(min=1)[:, None, None]
        out, state = self.gru(torch.cat([poses, said.expand(-1, poses.shape[1], -1)], dim=-1), state)
        return poses + self.head(out), state


class RecurrenceTask:
    def __init__(self, dataset, sections, card):
        described = dataset.card
        self.dataset, self.card = dataset, card
        fields = (POSES, FieldSpec("letters", ("text",), letters))
        self.collate = Collate(described.skeleton, described.text, described.speech, fields)
        self.module = Recurrence(sections[KIND], described.skeleton.n_joints * described.skeleton.dims)
        self._averaged = copy.deepcopy(self.module).eval()

    def loss(self, module, batch, generator):
        poses, seen = batch.poses.flatten(2), batch.seen.repeat_interleave(batch.poses.shape[-1], dim=-1)
        predicted, _ = module(poses[:, :-1] * seen[:, :-1], batch["letters"].values, batch["letters"].lengths)
        return {"loss": masked_mean((predicted - poses[:, 1:]) ** 2, seen[:, 1:])}

    @torch.no_grad()
    def validate(self, weights, rank, world_size, device):
        self._averaged.to(device).load_state_dict(weights)
        sums = {"error": 0.0, "clips": 0.0}
        for batch in split_batches(self.dataset, self.dataset.validation, self.collate, 16, rank, world_size):
            sums["error"] += float(self.loss(self._averaged, batch.to(device), None)["loss"]) * len(batch)
            sums["clips"] += len(batch)
        sums = all_sum(sums, device)
        return {"dev_error": sums["error"] / sums["clips"]}

    def save(self, folder, weights):
        checkpoint.save(folder, self.card, weights)


@dataclass(frozen=True)
class Step:
    """What the next chunk is made from, and what was made: text, frames left, the last pose, the state of the GRU."""

    text: bytes
    left: int
    last: torch.Tensor
    state: torch.Tensor | None
    key: tuple[Options, int]
    poses: Poses | None = None
    size: int = CHUNK
    prepares: bool = False


class Recurring:
    def __init__(self, step):
        self.step, self.ended = step, False

    def request(self):
        return self.step

    def receive(self, reply):
        self.step, self.ended = replace(reply, poses=None), reply.left == 0
        return reply.poses


def start(card, utterance, options, seed):
    if utterance.text is None:
        raise InputError(f"{utterance.id}: a recurrence signs text alone")
    frames = max(1, round((utterance.seconds or LETTER_SECONDS * len(utterance.text)) * card.fps))
    last = torch.zeros(1, 1, card.skeleton.n_joints * card.skeleton.dims)
    return Recurring(Step(utterance.text.encode(), frames, last, None, (options or Options(), seed)))


class RecurrenceProducer(Producer):
    name, Options = KIND, Options

    def __init__(self, source, context):
        self.card = checkpoint.read_card(Path(source), KIND)
        self.skeleton, self.fps = self.card.skeleton, self.card.fps
        config = checkpoint.model_config(self.card, RecurrenceConfig, Path(source))
        self.model = Recurrence(config, self.skeleton.n_joints * self.skeleton.dims).eval()
        checkpoint.load_weights(self.model, Path(source))

    def start(self, utterance, options=None, *, seed):
        return start(self.card, utterance, options or self.options, seed)

    @torch.no_grad()
    def step(self, requests):
        return [self._chunk(request) for request in requests]

    def _chunk(self, step):
        (options, seed), ids = step.key, torch.tensor([list(step.text)])
        generator = torch.Generator().manual_seed((seed + step.left) % 2**63)
        made, state = [step.last], step.state
        for _ in range(min(CHUNK, step.left)):
            pose, state = self.model(made[-1], ids, torch.tensor([len(step.text)]), state)
            made.append(pose + options.restlessness * torch.randn(pose.shape, generator=generator))
        joints = torch.cat(made[1:])[:, 0].numpy().reshape(-1, self.skeleton.n_joints, self.skeleton.dims)
        poses = Poses(joints, np.ones(joints.shape[:2], np.float32), self.fps)
        return replace(step, left=step.left - len(joints), last=made[-1], state=state, poses=poses)


SYSTEM = System(
    KIND, "Each pose from the one before.", frozenset({"text"}), "poses", RecurrenceProducer, RecurrenceConfig, Options=Options,
    seeded=True, task=RecurrenceTask, start=start,
)  # fmt: skip

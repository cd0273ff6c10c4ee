"""MS2SL as the registry knows it."""

from collections.abc import Mapping
from typing import Any

from ms2sl.data.dataset import Dataset
from ms2sl.data.modality_masking import MaskConfig
from ms2sl.data.speech_augmentation import SpeechAugmentConfig
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.producer import MS2SLProducer, start
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.registry import Context, System
from ms2sl.training.checkpoint import ModelCard


def make_task(dataset: Dataset, sections: Mapping[str, Any], card: ModelCard) -> MS2SLTask:
    return MS2SLTask(dataset, sections["model"], sections["losses"], card, sections["mask"], sections["augment"])


def load(source: str, context: Context) -> MS2SLProducer:
    return MS2SLProducer.load(source, device=context.device, precision=context.precision)


SYSTEM = System(
    kind="ms2sl",
    description="Sequence diffusion conditioned on text, speech or both (arXiv 2407.12842).",
    inputs=frozenset({"text", "speech"}),
    output="poses",
    load=load,
    Config=ModelConfig,
    section="model",
    training={"losses": LossWeights, "mask": MaskConfig, "augment": SpeechAugmentConfig},
    perturbable=frozenset({"losses"}),
    former={"mask": "hide"},
    Options=Sampling,
    seeded=True,
    task=make_task,
    start=start,
)

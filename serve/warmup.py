"""What must be slow once is slow before the first request."""

import numpy as np

from ms2sl.audio.speech import Speech
from ms2sl.data.types import Utterance
from ms2sl.inference.producer import Producer


def warm_up(producer: Producer, batch: int) -> None:
    """Signs something from each modality that the model learned, alone and in whole batches."""
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    letters = producer.card.characters.replace(" ", "") or "a"
    said = {"text": Utterance("text", text=letters[:5]), "speech": Utterance("speech", speech=Speech(noise, 16_000))}
    for modality in producer.card.learned:
        for n in (1, batch):
            producer.produce([said[modality]] * n, seed=0)

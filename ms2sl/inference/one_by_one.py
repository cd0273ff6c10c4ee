"""Many utterances by one producer: those that it cannot produce take none of the others with them."""

from collections.abc import Sequence

from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.producer import Producer


def produce_each(producer: Producer, utterances: Sequence[Utterance], *, seed: int) -> list[Poses | InputError]:
    """Poses of each utterance, in order, or why it has none.

    All are tried at once, since a batch costs less. Where that fails, halves of it are, so the rest is still produced in batches.
    """
    if not utterances:
        return []
    try:
        return list(producer.produce(utterances, seed=seed))
    except InputError as error:
        if len(utterances) == 1:
            return [error]
    middle = len(utterances) // 2
    return [made for some in (utterances[:middle], utterances[middle:]) for made in produce_each(producer, some, seed=seed)]

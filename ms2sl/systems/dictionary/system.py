"""The dictionary as the registry knows it."""

from ms2sl.inference.producer import Producer
from ms2sl.systems.registry import Context, System


def load(source: str, context: Context) -> Producer:
    """In the languages of the first training clip."""
    from ms2sl.systems.dictionary.producer import Dictionary  # takes long to load

    clip = next(context.dataset.clips("train"))
    return Dictionary(source, context.dataset.skeleton, context.dataset.card.fps, clip.spoken_language, clip.signed_language)


SYSTEM = System("dictionary", "Signs from a dictionary, one after the other.", frozenset({"text"}), "poses", load)

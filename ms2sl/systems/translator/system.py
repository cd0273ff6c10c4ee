"""The back-translator as the registry knows it."""

from ms2sl.systems.registry import System
from ms2sl.systems.translator.model import KIND, TranslatorConfig
from ms2sl.systems.translator.task import TranslationTask, load

SYSTEM = System(
    kind=KIND,
    description="Writes what is signed, as sentences: the judge of continuous signing.",
    inputs=frozenset({"poses"}),
    output="text",
    load=lambda source, context: load(source).to(context.device),
    Config=TranslatorConfig,
    task=lambda dataset, sections, card: TranslationTask(dataset, sections[KIND], card),
)

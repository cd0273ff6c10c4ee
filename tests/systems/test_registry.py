import pytest

from ms2sl.config import Config
from ms2sl.systems.registry import System, system, trainable


class Part(Config):
    width: int = 8


class Parts(Config):
    first: Part = Part()
    second: Part = Part()


def of_stages(*names: str) -> System:
    return System("pair", "", frozenset({"text"}), "poses", load=lambda source, context: None, Config=Parts, stages=dict.fromkeys(names))


def test_the_last_stage_makes_a_model_of_the_system_and_others_name_theirs():
    pair = of_stages("first", "second")
    assert [pair.kind_of(stage) for stage in (*pair.stages, None)] == ["pair/first", "pair", "pair"]
    assert pair.sections == {"pair": Parts}
    assert all(each.kind_of(None) == each.kind and not each.stages for each in trainable()), "ours are trained in one"


@pytest.mark.parametrize("names", [("first",), ("second", "first"), ("first", "second", "third")])
def test_every_stage_has_options_in_their_order(names):
    with pytest.raises(AssertionError, match="pair: its Config has a field for each stage"):
        of_stages(*names)


def test_a_system_is_found_by_its_kind():
    assert system("ms2sl").stages == {}

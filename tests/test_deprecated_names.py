import json
import shutil
from typing import Annotated

import pytest
from pydantic import Field

from ms2sl.config import Config
from ms2sl.deprecated_names import FormerValues, before, current_name, formerly, rename_deprecated, values_before
from ms2sl.errors import InputError
from ms2sl.systems.ms2sl import task
from ms2sl.training import checkpoint


class Rate(Config):
    peak: float = Field(0.1, json_schema_extra=formerly("highest", "top"))
    steps: int = 3


class Options(Config):
    schedule: Rate = Field(Rate(), json_schema_extra=formerly("rate"))
    width: int = 8
    form: Annotated[str, FormerValues(ball="round", box="square")] = Field("round", json_schema_extra=formerly("shape"))


@pytest.mark.parametrize(
    ("values", "renamed", "found"),
    [
        ({"width": 4, "schedule": {"peak": 1}}, {"width": 4, "schedule": {"peak": 1}}, {}),
        ({"rate": {"steps": 1}}, {"schedule": {"steps": 1}}, {"rate": "schedule"}),
        ({"schedule": {"top": 1}}, {"schedule": {"peak": 1}}, {"schedule.top": "schedule.peak"}),
        ({"rate": {"highest": 1}}, {"schedule": {"peak": 1}}, {"rate": "schedule", "rate.highest": "schedule.peak"}),
        ({"form": "round", "schedule": {}}, {"form": "round", "schedule": {}}, {}),
        ({"form": "box"}, {"form": "square"}, {"form box": "form square"}),
        ({"shape": "box"}, {"form": "square"}, {"shape box": "form square"}),
        ({"shape": "square"}, {"form": "square"}, {"shape": "form"}),
        (
            {"shape": {"choice": ["ball", "flat", 1]}},
            {"form": {"choice": ["round", "flat", 1]}},
            {"shape {'choice': ['ball', 'flat', 1]}": "form {'choice': ['round', 'flat', 1]}"},
        ),
        ({"rate": None, "unknown": {"top": 1}, 7: 1}, {"schedule": None, "unknown": {"top": 1}, 7: 1}, {"rate": "schedule"}),
    ],
)
def test_values_come_under_todays_names(values, renamed, found):
    assert rename_deprecated(values, Options) == (renamed, found)
    assert rename_deprecated(renamed, Options) == (renamed, {})


def test_a_field_accepts_its_former_values():
    assert [Options(form=form).form for form in ("box", "square", "ball", "flat")] == ["square", "square", "round", "flat"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rate": {}, "schedule": {}}, r"^rate is now schedule, and both are given: leave out rate$"),
        ({"schedule": {}, "rate": {}}, r"^rate is now schedule, and both are given: leave out rate$"),
        ({"rate": {"top": 1, "peak": 2}}, r"^rate\.top is now schedule\.peak, and both are given"),
        ({"shape": "box", "form": "round"}, r"^shape is now form, and both are given"),
        ({"schedule": {"top": 1, "highest": 2}}, r"^schedule\.highest is now schedule\.peak, and both are given"),
    ],
)
def test_a_value_under_both_names_is_an_error(values, said):
    with pytest.raises(InputError, match=said):
        rename_deprecated(values, Options)


@pytest.mark.parametrize(
    ("name", "today"),
    [
        ("width", "width"),
        ("rate", "schedule"),
        ("rate.top", "schedule.peak"),
        ("schedule.highest", "schedule.peak"),
        ("rate.unknown", "schedule.unknown"),
        ("top", "top"),
        ("width.top", "width.top"),
    ],
)
def test_a_dotted_name_is_found_group_by_group(name, today):
    assert current_name(name, Options) == today


def test_a_checkpoint_may_use_deprecated_names_of_the_models_options(tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    card = json.loads((folder / "config.json").read_text())
    card["model"] = {"rate": {"top": 0.5}, "width": 4}
    (folder / "config.json").write_text(json.dumps(card))
    model = checkpoint.model_config(checkpoint.read_card(folder, task.KIND), Options, folder)
    assert model == Options(schedule=Rate(peak=0.5), width=4)
    card["model"] |= {"schedule": {}}
    (folder / "config.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="rate is now schedule, and both are given"):
        checkpoint.model_config(checkpoint.read_card(folder, task.KIND), Options, folder)


class Inner(Config):
    shape: str = "ball"
    later: bool = Field(True, json_schema_extra=before(False))


class Outer(Config):
    inner: Inner = Inner()
    newer: int = Field(5, json_schema_extra=before(1))


def test_what_came_later_has_a_value_for_what_was_made_before():
    assert values_before(Outer) == {"inner.later": False, "newer": 1}

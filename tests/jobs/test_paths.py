"""Every option of every job that names a path or a URI: what it takes, and what it refuses."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

import jobs
from jobs.cli import Command
from jobs.train import TrainCommand
from ms2sl.corpora import CORPORA
from ms2sl.data.mixture import absolute
from ms2sl.errors import InputError
from ms2sl.io.uri import public
from serve.settings import Service

URI = "s3://AKIA:SECRET@bucket/folder?session_token=SECRET"
ABOUT_PLACES = r"folder|file\b|file of|path|URI|recording|weights\b.*hub"
# Names, though what is said of them has such a word.
NOT_PLACES = {"split", "name", "revision", "featurizer", "space", "signer", "unseen_signers", "only_signers"}
WITHIN_THE_SOURCE = {"texts", "poses", "speech", "videos", "table", "tables", "files"}  # of a corpus


def commands() -> Iterator[type[Command]]:
    for module in pkgutil.walk_packages(jobs.__path__, "jobs."):
        importlib.import_module(module.name)
    todo = [Command]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__.startswith("jobs."):
            yield kind


def fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def inner(annotation) -> set:
    return {annotation}.union(*map(inner, get_args(annotation))) if get_args(annotation) else {annotation}


def given(kind: type[BaseModel], option: str, value: object) -> BaseModel:
    if kind is Service:
        return Service.parse({option: value})
    pair = next(field for name, field in fields(kind) if name == option).annotation
    value = f"name={value}" if dict in {getattr(part, "__origin__", None) for part in inner(pair)} else value
    return kind.parse([f"--{option.replace('_', '-')}={value}"])


ALL = [(kind, name, field) for kind in [*commands(), Service] for name, field in fields(kind)]
PATHS = [(kind, name) for kind, name, field in ALL if Path in inner(field.annotation)]
TEXTS = [
    (kind, name)
    for kind, name, field in ALL
    if str in inner(field.annotation)
    and re.search(ABOUT_PLACES, field.description or "")
    and name.split(".")[-1] not in NOT_PLACES
    and not (name.split(".")[0] in CORPORA and name.split(".")[-1] in WITHIN_THE_SOURCE)
]


def test_options_were_found():
    found = {(kind.__name__, name) for kind, name in PATHS}
    assert {("PrepareCommand", "kokoro_voices"), ("TrainCommand", "recipe"), ("Service", "api_keys_file")} <= found
    found = {(kind.__name__, name) for kind, name in TEXTS}
    assert {("PrepareCommand", "how2sign.source"), ("TrainCommand", "data"), ("EvaluateCommand", "asr")} <= found
    assert {("TrainCommand", "runs"), ("ProduceCommand", "out"), ("EvaluateCommand", "others"), ("TuneCommand", "trained")} <= found
    assert {("ProduceCommand", "utterances"), ("AblateCommand", "runs"), ("TuneCommand", "back_translator")} <= found


@pytest.mark.parametrize(("kind", "option"), PATHS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("uri", [URI, "s3:/bucket/folder"])
def test_a_path_refuses_a_uri_in_a_line_that_names_the_option(kind, option, uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"is a URI, but only a path is taken here") as refused:
        given(kind, option, uri)
    assert str(refused.value).startswith(option)
    assert "\n" not in str(refused.value)
    assert "SECRET" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "option"), TEXTS, ids=lambda value: getattr(value, "__name__", value))
def test_any_other_place_is_refused_or_kept_whole_and_recorded_without_credentials(kind, option):
    try:
        options = given(kind, option, URI)
    except InputError:
        with pytest.raises(InputError, match=r"^(?!.*SECRET).*is a URI"):
            given(kind, option, URI)
        return
    value, recorded = options, options.model_dump(mode="json")
    for part in option.split("."):
        value, recorded = getattr(value, part), recorded[part]
    value, recorded = (each["name"] if isinstance(each, dict) else each for each in (value, recorded))
    assert (value, recorded) == (URI, public(URI))
    assert "SECRET" not in f"{options!r} {options} {recorded}"


MODELS = [(kind, name) for kind, name, field in ALL if "models:/name" in (field.description or "") and name != "tracking"]


def test_options_for_models_were_found():
    found = {(kind.__name__, name) for kind, name in MODELS}
    assert found >= {
        ("ProduceCommand", "model"),
        ("EvaluateCommand", "model"),
        ("EvaluateCommand", "others"),
        ("EvaluateCommand", "back_translator"),
    }
    assert found >= {
        ("AblateCommand", "back_translator"),
        ("TuneCommand", "back_translator"),
        ("TuneCommand", "trained"),
        ("Service", "model"),
    }


@pytest.mark.parametrize(("kind", "option"), MODELS, ids=lambda value: getattr(value, "__name__", value))
def test_a_model_may_be_a_registered_one(kind, option):
    def taken(model):
        value = getattr(given(kind, option, model), option)
        return value["name"] if isinstance(value, dict) else value

    assert [taken(model) for model in ("models:/ms2sl@champion", "models:/ms2sl/3")] == ["models:/ms2sl@champion", "models:/ms2sl/3"]
    assert taken("runs/a/model") == "runs/a/model"
    with pytest.raises(InputError, match=rf"^{option}.*models:/ms2sl.* write models:/name@alias or models:/name/version$"):
        taken("models:/ms2sl")


def test_a_recipe_is_a_local_file():
    with pytest.raises(InputError, match="recipe: s3://bucket/folder is a URI"):
        commands().__next__().parse(["--recipe", URI])


def test_the_folders_of_a_mixture_are_places_like_others(tmp_path):
    """Recorded without credentials, in any number, each once."""
    command = TrainCommand.parse(["--data", json.dumps({URI: 1, str(tmp_path): 0.5})])
    assert command.data == {URI: 1.0, str(tmp_path): 0.5}
    assert "SECRET" not in json.dumps(command.model_dump(mode="json"))
    with pytest.raises(InputError, match="is in the mixture twice: name it once"):
        absolute({str(tmp_path): 1, f"{tmp_path}/../{tmp_path.name}/": 2})
    for wrong in ("0", "-1", "1000", "true", '"two"'):
        with pytest.raises(InputError, match=rf"data: the weight of {tmp_path} is a number above 0 and at most 100, not"):
            TrainCommand.parse(["--data", f'{{"{tmp_path}": {wrong}}}'])
    with pytest.raises(InputError, match=r'a mixture is written \{"data/a": 1, "data/b": 0\.5\}'):
        TrainCommand.parse(["--data", '{"data/a": 1'])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{{tmp_path}: 1, {tmp_path}/b: 0.5}}\n")
    assert TrainCommand.parse(["--recipe", str(recipe)]).data == {str(tmp_path): 1.0, f"{tmp_path}/b": 0.5}

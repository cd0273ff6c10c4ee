"""What an operator may say, and what is said of what he may not."""

import re
from pathlib import Path

import click
import pytest
import yaml
from pydantic import Field
from ray.serve.schema import ServeDeploySchema

import serve.app
from ms2sl.deprecated_names import formerly
from ms2sl.errors import InputError
from serve.app import build, replicas
from serve.settings import Limits, Service

CONFIG = Path(serve.app.__file__).parent / "config.yaml"


def refusal(arguments: dict) -> str:
    with pytest.raises(InputError) as caught:
        Service.parse(arguments)
    return str(caught.value)


def deployed() -> dict:
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


def test_dotted_keys_reach_what_is_nested():
    service = Service.parse({"limits.steps": "20", "sampling.steps": "4", "sampling.sampler": "dpm++", "max_concurrent_requests": "3"})
    assert (service.limits.steps, service.limits.fps) == (20, Limits().fps)
    assert (service.sampling.steps, service.sampling.sampler, service.max_concurrent_requests) == (4, "dpm++", 3)


def test_nested_and_dotted_keys_go_together_and_change_nothing_that_was_given():
    given = {"limits": {"steps": 30}, "limits.fps": 5}
    service = Service.parse(given)
    assert (service.limits.steps, service.limits.fps) == (30, 5)
    assert given == {"limits": {"steps": 30}, "limits.fps": 5}


def test_nothing_is_enough():
    assert Service.parse({}) == Service()


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("modell", "min_replicas"),
        ("limits.stepz", "rendered_frames"),
        ("sampling.seed", "guidance"),
        ("limits..steps", "steps"),
        ("", "model"),
    ],
)
def test_an_unknown_key_is_told_what_is_allowed(key, allowed):
    message = refusal({key: "1"})
    assert f"unknown key '{key.replace('..', '.').removesuffix('steps') if '..' in key else key}'" in message
    assert allowed in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("min_replicas", 0),
        ("min_replicas", "two"),
        ("max_concurrent_requests", -1),
        ("max_concurrent_requests", "1.5"),
        ("max_batch_size", 0),
        ("cpus", 0),
        ("gpus", -0.5),
        ("frontends", 0),
        ("request_timeout_s", "nan"),
        ("request_timeout_s", 0),
        ("precision", "fp8"),
        ("sampling.steps", 1001),
        ("limits.steps", 1001),
        ("limits.text_characters", 0),
        ("limits", "3"),
        ("limits", None),
        ("max_replicas", 0),
        ("model.name", "x"),
        ("model", 5),
        ("sampling.sampler", "euler"),
    ],
)
def test_an_impossible_value_is_refused_by_name(key, value):
    assert key.split(".")[0] in refusal({key: value})


@pytest.mark.parametrize(
    "arguments", [{"limits": "3", "limits.steps": "4"}, {"limits.steps": "4", "limits.steps.more": "4"}, {1: 2}, {None: 1}]
)
def test_nonsense_is_refused_in_words_too(arguments):
    assert refusal(arguments)


def test_a_key_under_its_former_name_is_taken_and_told(capsys):
    class Renamed(Service):
        greeting: str = Field("", json_schema_extra=formerly("welcome"))

    assert Renamed.parse({"welcome": "hello"}).greeting == "hello"
    assert capsys.readouterr().err == "welcome is now greeting; the former name works until version 0.3\n"


def test_all_former_keys_are_taken(capsys):
    former = {
        "at_once": 3,
        "batch": 4,
        "samplers": 2,
        "most_samplers": 5,
        "seconds": 6,
        "stream_seconds": 7,
        "keys": "k",
        "origins": "https://a.org",
    }
    service = Service.parse(former)
    assert (service.max_concurrent_requests, service.max_batch_size, service.min_replicas, service.max_replicas) == (3, 4, 2, 5)
    assert (service.request_timeout_s, service.stream_timeout_s) == (6, 7)
    assert (service.api_keys_file, service.cors_origins) == (Path("k"), ("https://a.org",))
    assert len(capsys.readouterr().err.splitlines()) == len(former)


def test_origins_can_be_given_on_the_command_line():
    assert Service.parse({"cors_origins": "https://a.org, https://b.org"}).cors_origins == ("https://a.org", "https://b.org")
    assert Service.parse({"cors_origins": ["https://a.org"]}).cors_origins == ("https://a.org",)


def test_keys_are_read_one_a_line(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("\ufefffirst\n\n  second  \r\nthird", encoding="utf-8")
    assert Service.parse({"api_keys_file": str(keys)}).api_keys() == ("first", "second", "third")
    assert Service.parse({}).api_keys() == ()


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"\xff\xfe", "schlüssel".encode(), None], ids=["empty", "blank", "binary", "umlaut", "missing"]
)
def test_a_file_without_usable_keys_opens_nothing(tmp_path, content):
    keys = tmp_path / "keys"
    if content is not None:
        keys.write_bytes(content)
    with pytest.raises(InputError, match="keys"):
        Service.parse({"api_keys_file": str(keys)}).api_keys()
    with pytest.raises(InputError, match="keys"):
        build({"api_keys_file": str(keys)})


@pytest.mark.parametrize("model", ["no/such/folder", "models:/nothing@champion", "models:/nothing/3", "models:/broken"])
def test_a_model_that_is_not_there_is_refused_before_anything_starts(model, tmp_path):
    with pytest.raises(InputError, match=re.escape(model.rpartition("/")[2])):
        build({"model": model, "tracking": f"sqlite:///{tmp_path / 'mlflow.db'}"})


def test_a_checkpoint_of_another_kind_is_refused(tiny_recogniser):
    with pytest.raises(InputError, match="recogniser"):
        build({"model": str(tiny_recogniser)})


def test_serve_run_shows_a_wrong_argument_as_one_line():
    with pytest.raises(click.ClickException) as caught:
        build({"modell": "x"})
    assert "unknown key 'modell'" in caught.value.format_message()


def test_samplers_multiply_only_where_there_may_be_more():
    assert replicas(Service(min_replicas=2)) == replicas(Service(min_replicas=2, max_replicas=2)) == {"num_replicas": 2}
    scaling = replicas(Service(min_replicas=2, max_replicas=5))["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (2, 5)


def test_the_config_is_one_that_ray_accepts():
    schema = ServeDeploySchema.model_validate(deployed())
    assert [application.import_path for application in schema.applications] == ["serve.app:build"]


def test_the_config_listens_to_this_machine_alone():
    assert deployed()["http_options"]["host"] == "127.0.0.1"


def test_all_options_of_the_config_exist_also_those_that_are_commented_out():
    (application,) = deployed()["applications"]
    Service.parse(application["args"])
    commented = re.findall(r"^      # (\w+): (\S+)$", CONFIG.read_text(encoding="utf-8"), re.MULTILINE)
    assert ("api_keys_file", "/etc/ms2sl/keys") in commented
    Service.parse(dict(commented))


def test_the_config_overrides_what_the_application_has():
    (application,) = deployed()["applications"]
    (sampler,) = application["deployments"]
    bound = build({})._bound_deployment
    names = {bound.name, *(argument._bound_deployment.name for argument in bound.init_args if hasattr(argument, "_bound_deployment"))}
    assert names == {"Frontend", "Sampler", "Renderer"}
    assert sampler["name"] in names
    of_app = next(
        a._bound_deployment for a in bound.init_args if getattr(a, "_bound_deployment", None) and a._bound_deployment.name == "Sampler"
    )
    assert of_app._deployment_config.user_config.keys() <= sampler["user_config"].keys()

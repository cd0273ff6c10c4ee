import os
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest

from jobs.cli import NOTHING_DONE, SOME_FAILED, _join, main, user_error
from jobs.evaluate import check_made
from jobs.prepare import PrepareCommand
from jobs.produce import ProduceCommand
from jobs.train import TrainCommand
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import Result


def recipe(tmp_path, content: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    return str(path)


def test_flags_win_over_the_recipe_and_the_recipe_over_defaults(tmp_path):
    path = recipe(tmp_path, "training: {steps: 7, seed: 3}\nname: mine\n")
    command = TrainCommand.parse(["--recipe", path, "--training.steps", "9", "--gpu"])
    assert (command.training.steps, command.training.seed, command.name, command.gpu) == (9, 3, "mine", True)
    assert command.training.batch_size == TrainCommand().training.batch_size


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("training: {stepz: 7}", "unknown key 'training.stepz'; allowed here: steps, batch_size"),
        ("colour: red", "unknown key 'colour'; allowed here: .*data"),
        ("training: {steps: many}", "training.steps: .*integer.*'many'"),
        ("losses: {cycle: -1}", "losses.cycle: .*greater than or equal to 0"),
        ("model: {schedule: sigmoid}", "model.schedule: .*'cosine' or 'none'"),
        ("- a list", "must hold keys and values"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_recipe_that_is_wrong_is_explained(tmp_path, content, reason):
    with pytest.raises(InputError, match=reason):
        TrainCommand.parse(["--recipe", recipe(tmp_path, content)])


def test_a_recipe_that_is_not_there():
    with pytest.raises(InputError, match=r"nowhere\.yaml cannot be read: No such file"):
        TrainCommand.parse(["--recipe=nowhere.yaml"])


def test_an_unknown_flag_prints_usage(capsys):
    with pytest.raises(SystemExit):
        PrepareCommand.parse(["--shard-syze", "3"])
    assert "unrecognized arguments: --shard-syze" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        PrepareCommand.parse(["--ot", "s3://AKIA:SECRET@bucket/folder"])
    assert "unrecognized arguments: --ot s3://bucket/folder" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["None", "null", "true", "nan", "~", "5", '"', " a ", "{}", "", "a\nb", "\na=b\r\n"])
def test_a_text_is_any_word(word):
    assert ProduceCommand.parse(["--text", word]).text == word
    assert ProduceCommand.parse([f"--text={word}", "--duration", "None"]).text == word


@pytest.mark.parametrize("argument", [b"--name=gr\xfc\xdfe", b"gr\xfc\xdfe"])
def test_bytes_on_the_command_line_that_are_no_utf_8_are_refused(argument, call):
    ended = call("jobs.train", "--name", os.fsdecode(argument))
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: the argument ")
    assert "gr\\xfc\\xdfe' cannot be read: its byte 0xFC is no UTF-8" in ended.stderr


CREDENTIALS = """
import logging
from jobs.cli import main
from jobs.train import TrainCommand

def run(options):
    logging.getLogger("some.package").warning("cannot reach %s", options.data)
    raise RuntimeError(f"unforeseen at {options.data}")

main(TrainCommand, run)
"""


def test_logs_and_tracebacks_are_without_credentials(tmp_path):
    (tmp_path / "job.py").write_text(CREDENTIALS)
    command = [sys.executable, "-m", "job", "--data", "gs://AKIA:SECRET@bucket/folder"]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    )
    assert ended.returncode == 1
    assert "cannot reach gs://bucket/folder" in ended.stderr
    assert "RuntimeError: unforeseen at gs://bucket/folder" in ended.stderr
    assert "SECRET" not in ended.stdout + ended.stderr


def test_the_environment_has_no_say(monkeypatch):
    monkeypatch.setenv("NAME", "from the environment")
    monkeypatch.setenv("TRAINING", '{"steps": 3}')
    assert TrainCommand.parse([]).name == "ms2sl"
    assert TrainCommand.parse([]).training.steps > 3


def test_what_the_user_did_wrong_is_found_behind_other_errors():
    wrapped = RuntimeError("task failed")
    wrapped.__cause__ = InputError("the text is empty")
    assert user_error(wrapped) == "the text is empty"
    assert user_error(RuntimeError("ours")) is None


@pytest.mark.parametrize("job", ["prepare", "train", "produce", "evaluate", "tune", "quickstart"])
def test_every_job_tells_its_options(job, call):
    told = call(f"jobs.{job}", "--help").stdout
    assert told.startswith(f"usage: python -m jobs.{job}")
    assert "--recipe" in told


def test_an_error_is_one_line_without_a_traceback():
    ended = subprocess.run([sys.executable, "-m", "jobs.train", "--data", "/nowhere"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "error: /nowhere holds no dataset" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def as_job(monkeypatch):
    """As ``python -m jobs.train`` has it."""
    monkeypatch.setattr(sys, "argv", ["train"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", find_spec("jobs.train"))


@pytest.mark.usefixtures("as_job")
@pytest.mark.parametrize(("returned", "status"), [(None, 0), ([], 0), (0, 0), (SOME_FAILED, 3), (NOTHING_DONE, 1)])
def test_the_status_says_how_much_was_done(returned, status):
    with pytest.raises(SystemExit) as ended:
        main(TrainCommand, lambda options: returned)
    assert ended.value.code == status


@pytest.mark.usefixtures("as_job")
def test_an_interrupted_job_ends_with_130(capsys):
    def run(options):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        main(TrainCommand, run)
    assert ended.value.code == 130
    assert "interrupted: run the same command again" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_cluster")
def test_a_production_of_nothing_does_not_end_well(tiny_checkpoint, tmp_path, call):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "broken.wav").write_bytes(b"no audio at all")
    ended = call("jobs.produce", "--model", tiny_checkpoint, "--utterances", tmp_path / "audio", "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "broken.wav is not audio that can be read" in ended.stdout
    assert "0 produced, 0 were there already, 1 failed" in ended.stdout


@pytest.mark.usefixtures("ray_cluster")
def test_what_a_worker_cannot_write_is_said_in_a_line(tiny_checkpoint, tmp_path, call):
    data, out, words = tmp_path / "data", tmp_path / "out", tmp_path / "words.txt"
    words.write_text("cab")
    producing = ["jobs.produce", "--model", tiny_checkpoint, "--utterances", words, "--steps", 1, "--out", out]
    assert call(*producing).returncode == 0
    (made,) = (out / "poses").iterdir()
    made.unlink()
    shutil.rmtree(out / "parts")  # so it is to be made again
    few = [f"--fingerspelling.{split}=2" for split in ("train", "dev", "test")]
    for taken, command in {made: producing, data / "train-00000.parquet": ["jobs.prepare", "--out", data, *few]}.items():
        taken.mkdir(parents=True)  # where a file should be
        ended = call(*command)
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].startswith(f"error: {taken} cannot be written: Is a directory; free space there or choose")
        assert "Traceback" not in ended.stderr


def test_an_evaluation_of_a_model_that_makes_nothing_is_an_error():
    some, none = Result("ms2sl", "text", {}, ("a: too long",)), Result("ms2sl", "speech", {}, ("a: too long", "b: empty"))
    check_made([some, none], 2)
    with pytest.raises(InputError, match="ms2sl could produce none of the 2 clips; the first: a: too long"):
        check_made([none], 2)


def test_a_cluster_that_does_not_answer_is_said_in_a_line(tmp_path):
    with socket.socket() as taken:  # but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        job = [sys.executable, "-m", "jobs.prepare", "--out", str(tmp_path / "data"), "--fingerspelling.train", "4"]
        ended = subprocess.run(job, capture_output=True, text=True, check=False, env=os.environ | {"RAY_ADDRESS": address})
    assert ended.returncode == 1
    assert f"error: RAY_ADDRESS {address} does not answer ([Errno 111] Connection refused): see on its head" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_address_of_a_cluster_may_be_of_ipv6():
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        with pytest.raises(InputError, match="Connection refused"):
            _join(f"[::1]:{taken.getsockname()[1]}", {})


def test_ray_starts_where_temporary_files_have_a_long_path(tmp_path):
    """Its sockets would have paths that are too long there."""
    long = tmp_path / ("x" * 60)
    long.mkdir()
    code = "from jobs.cli import start_ray; start_ray(); import ray; print(ray.cluster_resources()['CPU'])"
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "RAY_TMPDIR")} | {"TMPDIR": str(long)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) >= 4

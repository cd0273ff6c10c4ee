"""What all commands share: flags over a YAML recipe, plain errors, one local Ray or the cluster's."""

import io
import logging
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict, SettingsError

from ms2sl.config import explain, read_yaml
from ms2sl.deprecated_names import both_given, current_name, hint, rename_deprecated
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import LocalPath, public

T = TypeVar("T", bound="Command")
NOTHING_DONE, SOME_FAILED = 1, 3  # statuses of a command that works on many things; 2 is that of a wrong flag
TRIED = "\nFailed to apply UDF transform after"  # begins what Ray Data adds to the message of an error
LONGEST_TEMPORARY = 35  # letters of TMPDIR, below which Ray has sockets, whose whole paths have 107 at most


class Command(BaseSettings):
    """Base of a job's options. Each field is a key of its recipe and a flag; a flag wins over the recipe."""

    interrupted: ClassVar[str] = "run the same command again to go on"  # what a user is told after Ctrl-C
    model_config = SettingsConfigDict(extra="forbid", frozen=True, cli_kebab_case=True, cli_implicit_flags=True, cli_avoid_json=True)

    recipe: LocalPath | None = Field(None, description="YAML file with any of these keys; flags win over it")

    @classmethod
    def settings_customise_sources(cls, settings_cls, init_settings, **_):
        return (init_settings,)  # neither environment variables nor .env files: what a job does is in its command

    @classmethod
    def parse(cls: type[T], arguments: list[str]) -> T:
        """Raises InputError for a recipe or a value that is wrong; prints usage and exits for an unknown flag."""
        for argument in arguments:
            _check_utf8(argument)
        arguments = [part for argument in _under_current_names(arguments, cls) for part in _in_parts(argument)]
        recipe, complaint = _recipe(arguments), io.StringIO()
        values = _read_recipe(recipe, cls) if recipe else {}
        try:
            with redirect_stderr(complaint):  # argparse repeats what it does not know, which may hold a key
                return CliApp.run(cls, cli_args=arguments, **values)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None
        except SettingsError as error:
            raise InputError(str(error)) from None
        finally:
            sys.stderr.write(public(complaint.getvalue()))

    @classmethod
    def under_current_names(cls, recorded: dict) -> dict:
        """What a run recorded of its options, under today's names. Raises InputError if one is there under both."""
        return rename_deprecated(recorded, cls)[0]

    def cli_cmd(self) -> None:
        """Parsing alone does nothing."""

    def __repr__(self) -> str:
        return public(super().__repr__())

    __str__ = __repr__

    def without_credentials(self: T) -> T:
        """For what is written to disk whole: its URIs cannot be opened any more."""
        return self.model_copy(update={name: public(value) for name, value in self if isinstance(value, str)})

    def options(self) -> dict:
        """All options as plain data, to be recorded: URIs are without their credentials."""
        return self.model_dump(mode="json", exclude={"recipe"})


def _check_utf8(argument: str) -> None:
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        shown = ascii(argument).replace("\\udc", "\\x")  # as Python keeps bytes that it cannot decode
        place = f"its byte 0x{ord(argument[error.start]) & 0xFF:02X} is no UTF-8"
        raise InputError(f"the argument {shown} cannot be read: {place}: set the terminal and the names of files to UTF-8") from None


def _in_parts(argument: str) -> list[str]:
    """``--name=value`` as two arguments where a line feed is in the value: pydantic-settings would cut it there."""
    name, _, value = argument.partition("=")
    return [name, value] if argument.startswith("--") and "\n" in value else [argument]


def _under_current_names(arguments: list[str], command: type[Command]) -> list[str]:
    """The arguments with today's names of flags; tells on stderr which were former ones.

    Raises InputError if an option is given under both.
    """
    renamed, given, former = [], set(), {}
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--"):
            renamed.append(argument)
            continue
        no, option = "", flag.removeprefix("--").replace("-", "_")
        name = current_name(option, command)
        if name == option and option.startswith("no_"):  # of a switch
            no, option = "no-", option.removeprefix("no_")
            name = current_name(option, command)
        if name == option:
            given.add(name)
            renamed.append(argument)
        else:
            today = f"--{no}{name.replace('_', '-')}"
            former[flag] = today, name
            renamed.append(f"{today}{equals}{value}")
    for flag, (today, name) in former.items():
        if name in given:
            raise both_given(flag, today)
        print(public(hint(flag, today)), file=sys.stderr)
    return renamed


def _read_recipe(path: Path, command: type[Command]) -> dict:
    """Under today's names of options; tells on stderr which were former ones."""
    values, former = rename_deprecated(read_yaml(path), command)
    for name, today in former.items():
        print(f"{path}: {hint(name, today)}", file=sys.stderr)
    return values


def _recipe(arguments: list[str]) -> Path | None:
    for i, argument in enumerate(arguments):
        if argument == "--recipe" and i + 1 < len(arguments):
            return _local_recipe(arguments[i + 1])
        if argument.startswith("--recipe="):
            return _local_recipe(argument.removeprefix("--recipe="))
    return None


def _local_recipe(argument: str) -> Path:
    try:
        return TypeAdapter(LocalPath).validate_python(argument)
    except ValidationError as error:
        raise InputError(f"recipe: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


class PublicFormatter(logging.Formatter):
    """Log records without the credentials of the URIs in them."""

    def format(self, record: logging.LogRecord) -> str:
        return public(super().format(record))


def main(command: type[T], run) -> None:
    """Runs a job from the command line. Errors that a user can cause are one line, without a traceback.

    The command ends with status 0, with 1 after an error, with 130 after Ctrl-C, or with the number that ``run`` returns (``SOME_FAILED``).
    """
    handler = logging.StreamHandler()
    handler.setFormatter(PublicFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    called = sys.modules["__main__"]
    command.model_config["cli_prog_name"] = getattr(called, "PROGRAM", None) or f"python -m {called.__spec__.name}"
    try:
        options = command.parse(sys.argv[1:])
        for place in stores(options.model_dump()):
            place.check_reachable()
        status = run(options)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {command.interrupted}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        cause = user_error(error)
        sys.exit(public(traceback.format_exc()) if cause is None else f"error: {cause}")
    sys.exit(status if isinstance(status, int) else 0)


def stores(options: Any) -> set[StoragePath]:
    """The places on S3 that options name, at any depth."""
    if isinstance(options, Mapping):
        return set().union(*map(stores, [*options, *options.values()]))
    return {StoragePath(options)} if isinstance(options, str) and options.startswith("s3://") else set()


def user_error(error: BaseException | None) -> str | None:
    """What the user did wrong, if that is behind an error; Ray wraps errors of its workers in its own."""
    while error is not None:
        if isinstance(error, InputError):
            return public(getattr(error, "cause", None) or error).partition(TRIED)[0]
        failures = getattr(error, "worker_failures", None)
        error = next(iter(failures.values())) if failures else getattr(error, "cause", None) or error.__cause__
    return None


def start_ray(**options) -> None:
    """Joins the cluster that RAY_ADDRESS names, or starts Ray on this machine; does nothing if Ray runs already.

    options: of ``ray.init``, for a Ray that is started here; ``num_cpus=None`` counts the cores.
    Raises InputError if the cluster cannot be joined, or Ray does not start.
    """
    if len(tempfile.gettempdir()) > LONGEST_TEMPORARY:
        os.environ.setdefault("RAY_TMPDIR", "/tmp")
    for name, value in {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data  # which sets its logger up

    from jobs import ray_messages

    # Else what a user did wrong comes back from a worker as an error of Ray Data that no longer has it.
    ray.data.DataContext.get_current().raise_original_map_exception = True
    if ray.is_initialized():
        return
    ray_messages.shorten()
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # each error, with pages of its own calls, which comes back all the same
    # Workers of a small machine wait for each other more than they compute: some room beside the cores.
    # Its dashboard costs four seconds, and ends with the job. Ray names its port all the same to whoever asks about the cluster, and would
    # name the usual one, at which another cluster may answer: that it has no such training, whose workers Ray Train then takes away.
    own = {"address": "local", "num_cpus": max(4, os.cpu_count() or 1), "include_dashboard": False, "dashboard_port": 0} | options
    # Workers log to files; what a user must know of them comes back as results and errors.
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address := os.environ.get("RAY_ADDRESS"):
        _join(address, quiet)  # a cluster that runs already is as it is
    else:
        _start(own | quiet)


def _join(address: str, options: dict) -> None:
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():  # Ray itself would try for minutes
        try:
            reach(f"{host}:{port}", timeout=10)
        except OSError as error:
            raise InputError(
                f"RAY_ADDRESS {address} does not answer ({error}): see on its head whether `ray status` does, and whether the port is open"
            ) from None
    _show_token(address)
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        causes = [error]
        while causes[-1].__cause__ or causes[-1].__context__:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        said = " ".join(map(str, causes))
        if any(isinstance(cause, ray.exceptions.AuthenticationError) for cause in causes) or "InvalidAuthToken" in said:
            reason = "it wants another token: copy ~/.ray/auth_token from its head to here, or set RAY_AUTH_TOKEN; on the head, "
            reason += "`ray get-auth-token` shows it"
        else:
            reason = f"{str(error).splitlines()[0]}; see on its head whether `ray status` answers"
        raise InputError(f"RAY_ADDRESS {address}: the cluster cannot be joined: {reason}") from None


def reach(address: str, timeout: float) -> None:
    """Raises OSError if nothing answers at ``host:port`` within so many seconds."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout).close()  # brackets are those of IPv6


def _show_token(address: str) -> None:
    """Shows the token that a local Ray has left, where the cluster wants one.

    ``ray start`` takes it up by itself and ``ray.init`` with an address does not. A driver with a token refuses what the machines of a
    cluster without one send it, and its actors die.
    """
    import ray
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._private.services import canonicalize_bootstrap_address
    from ray._raylet import GcsClient

    wanted = address.startswith("ray://")  # a client has no actors
    if not wanted:
        try:
            GcsClient(address=canonicalize_bootstrap_address(address))
        except ray.exceptions.AuthenticationError:
            wanted = True
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError):
            return  # ray.init says it better
    if wanted:
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _start(options: dict) -> None:
    """On a busy machine its processes may be too late: it is tried twice."""
    import ray

    for last in (False, True):
        try:
            ray.init(**options)
            return
        except Exception as error:  # of many kinds, by the process that was late
            ray.shutdown()
            if last:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise InputError(
                    f"Ray does not start on this machine ({reason}): wait until it is less busy, and see that /dev/shm and the folder for "
                    "temporary files (TMPDIR) have room"
                ) from None

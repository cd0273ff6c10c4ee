"""Requests, read no further than the limits: JSON with a text, or a form with a recording."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ms2sl.audio.speech import SAMPLE_RATE, Speech
from ms2sl.config import Config
from ms2sl.data.signed_language import SignedLanguage
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.systems.options import CallOptions, with_call_options
from ms2sl.systems.registry import System
from serve.problems import Problem
from serve.settings import Limits

JSON, FORM = "application/json", "multipart/form-data"
LONGEST_CHARACTER = 12  # bytes: two escapes of JSON
OTHER_OPTIONS = 4096  # bytes
DECODERS = ThreadPoolExecutor(2, thread_name_prefix="decoders")  # recordings at once, since they take memory
SILENT = 15.0  # seconds without a byte after which a sender is given up


@with_call_options
class Options(BaseModel):
    """How to sign."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=-(2**63), lt=2**63, description="the same seed gives the same signing")
    duration: float | None = Field(None, gt=0, description="seconds of signing; by default the model decides")
    fps: float | None = Field(None, ge=1, description="frames a second; by default those of the model")
    signed_language: SignedLanguage | None = Field(
        None, description="ISO 639-3 code of the language to sign in; by default the model decides", examples=["ase"]
    )
    signer: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="whom to sign like, of the choices in /v1/model; by default nobody in particular",
    )


class TextRequest(Options):
    """What to sign, and how."""

    text: str = Field(min_length=1, description="what to sign", examples=["hello"])


class SpeechForm(Options):
    """A recording to sign, and how."""

    speech: bytes = Field(description="wav, flac, mp3, ogg, m4a, webm and others", json_schema_extra={"format": "binary"})


AnyOptions = TypeVar("AnyOptions", bound=Options)


@dataclass(frozen=True, slots=True)
class SignRequest:
    """What is to be signed, and how. options: of the call, as they are asked for; fps: that are asked for, if any are; came: when the
    request did, by ``time.perf_counter``."""

    utterance: Utterance
    options: Mapping[str, Any]
    seed: int
    fps: float | None
    came: float = 0.0

    def call_options(self, system: System, defaults: CallOptions) -> Config:
        """Options of the system, as they are asked for, else as the operator says. Raises InputError for one that it does not have."""
        return system.options({**defaults.of(system), **self.options})


async def read(request: Request, limits: Limits) -> SignRequest:
    """Raises Problem for a request that is too large, of an unknown type, malformed, or beyond the limits."""
    came = time.perf_counter()
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == JSON:
        return replace(await _read_text(request, limits), came=came)
    if kind == FORM:
        return replace(await _read_speech(request, limits), came=came)
    raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send a text as {JSON}, or a recording as the file 'speech' of a {FORM}")


async def _read_text(request: Request, limits: Limits) -> SignRequest:
    most = limits.text_characters * LONGEST_CHARACTER + OTHER_OPTIONS
    body = b"".join([part async for part in _body(request, most, f"a text has at most {limits.text_characters} characters")])
    asked = _valid(lambda: TextRequest.model_validate_json(body, strict=True), limits)
    if len(asked.text) > limits.text_characters:
        raise _beyond("text", f"{limits.text_characters} characters; send it in parts")
    return _ask(asked, text=asked.text)


async def _read_speech(request: Request, limits: Limits) -> SignRequest:
    advice = f"a recording has at most {limits.upload_bytes} bytes: cut it, or send it as mp3, ogg or flac"
    parser = MultiPartParser(request.headers, _body(request, limits.upload_bytes + OTHER_OPTIONS, advice), max_files=1, max_fields=10)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", "") or "it is cut short or has no boundary"
        raise Problem(HTTPStatus.BAD_REQUEST, f"the form cannot be read: {message}") from None
    try:
        asked, upload = _fields(form, limits)
        encoded = await upload.read()
    finally:
        await form.close()
    try:
        decoding = (Speech.decode, encoded, "speech", limits.audio_seconds, SAMPLE_RATE)
        speech = await asyncio.get_running_loop().run_in_executor(DECODERS, *decoding)  # type: ignore[call-arg]
    except InputError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    return _ask(asked, speech=speech)


def _fields(form: FormData, limits: Limits) -> tuple[Options, UploadFile]:
    fields = form.multi_items()
    if len({name for name, _ in fields}) < len(fields):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "a field of the form stands in it twice")
    upload = form.get("speech")
    if not isinstance(upload, UploadFile):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "speech: the form has no file of this name")
    chosen = {name: value for name, value in fields if name != "speech" and value != ""}
    return _valid(lambda: Options.model_validate(chosen), limits), upload


async def _body(request: Request, most: int, advice: str) -> AsyncIterator[bytes]:
    """Never more than ``most`` bytes, whatever the request says of its length."""
    too_large = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request is too large: {advice}", {"Connection": "close"})
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    received, parts = 0, request.stream()
    while True:
        try:
            part = await asyncio.wait_for(anext(parts, None), SILENT)
        except TimeoutError:
            raise Problem(HTTPStatus.REQUEST_TIMEOUT, f"nothing came for {SILENT:g} s: send it again", {"Connection": "close"}) from None
        if part is None:
            return
        received += len(part)
        if received > most:
            raise too_large
        yield part


def _ask(asked: Options, **said: Any) -> SignRequest:
    own = {*said, "seed", "duration", "fps", "signed_language", "signer"}
    options = {name: value for name, value in asked if name not in own and value is not None}
    chosen = {"signed_language": asked.signed_language, "signer": asked.signer}
    utterance = Utterance(next(iter(said)), seconds=asked.duration, **chosen, **said)
    return SignRequest(utterance, options, asked.seed, asked.fps)


def _valid(parse: Callable[[], AnyOptions], limits: Limits) -> AnyOptions:
    try:
        asked = parse()
    except ValidationError as error:
        problems = (_complaint(problem, limits) for problem in error.errors())
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(problems)) from None
    for name in (name for name in type(limits).model_fields if name in asked.model_fields_set):
        value, most = getattr(asked, name), getattr(limits, name)
        if value is not None and value > most:
            raise _beyond(name, f"{most:g}")
    return asked


def _complaint(error: dict, limits: Limits) -> str:
    name = ".".join(map(str, error["loc"])) or "the request"
    if error["type"] == "less_than_equal" and name in type(limits).model_fields:
        return f"{name}: the limit is {getattr(limits, name):g}"
    if error["type"] == "extra_forbidden":
        return f"{name}: there is no such option; there are {', '.join(Options.model_fields)}"
    if (name, error["type"]) == ("text", "string_too_short"):
        return "text: the text is empty: write at least one letter"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}"


def _beyond(name: str, limit: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: the limit is {limit}")

"""Options that name a place: which of them may be a URI, and how a URI is shown without the credentials in it."""

import os
import re
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

V = TypeVar("V")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
# One letter before the colon is no scheme. One slash will do: it is what pathlib makes of two.
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
REGISTERED = "models:/"
MODEL = re.compile(rf"{REGISTERED}([^/@]+)(?:@([^/@]+)|/(\d+))")
PORT = r"(?![^/?#@]*:\d+(?:[/?#]|$))"  # host:9000/…, which is no user:password
# With a password, all up to the last @: a key that should have been percent-encoded may hold any of / ? # @.
PASSWORD, USER = re.compile(rf"://{PORT}[^/?#@]*:.*@", re.DOTALL), re.compile(r"://(?!anonymous@)[^/?#]*@")
NAMED_BY_USER = ("abfs:", "abfss:", "hdfs:", "wasb:", "wasbs:")  # whose user is a container or no secret
# Options in the query of a URI that are shown. Of all others the value may be a secret, whatever they are called.
SHOWN = {"allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open", "background_writes", "endpoint_override"}
SHOWN |= {
    "force_virtual_addressing",
    "check_directory_existence_before_creation",
    "connect_timeout",
    "request_timeout",
    "project_id",
    "region",
    "replication",
    "retry_limit_seconds",
    "scheme",
    "tls_verify_certificates",
}


def public(text: object) -> str:
    """A text without the users, passwords, keys and tokens of the URIs in it."""
    return URI.sub(lambda uri: public_uri(uri[0]), str(text))


def public_uri(uri: str) -> str:
    """The same place without credentials; what is no URI as it is."""
    if "://" not in uri:
        return uri
    uri = PASSWORD.sub("://", uri, count=1)
    if not uri.startswith(NAMED_BY_USER):
        uri = USER.sub("://", uri, count=1)
    base, _, query = uri.partition("?")
    shown = [option for option in query.split("&") if option.partition("=")[0] in SHOWN and "@" not in unquote(option)]
    return f"{base}?{'&'.join(shown)}" if shown else base


def is_uri(value: object) -> bool:
    return SCHEME.match(str(value)) is not None


def _local(value: V) -> V | str:
    """A path as it is, or that of a ``file://`` URI. Raises ValueError for any other, of which pathlib would make a local folder."""
    parts = urlsplit(str(value)) if is_uri(value) else None
    if parts and parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return unquote(parts.path)
    return _no_uri(value)


def place(value: object) -> str:
    """A path, that of a ``file://`` URI, or the URI of a store. Raises ValueError for one with one slash, which would be taken for a local
    folder of that name, and for what is no text."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError("a place is a path, or the URI of a store")
    text = str(getattr(value, "uri", value))  # of a StoragePath the whole
    if text.startswith("file:"):
        return str(_local(text))
    if is_uri(text) and "://" not in text:
        raise ValueError("a URI has two slashes after its colon")
    return text


def _no_uri(value: V) -> V:
    if is_uri(value):
        shown = public_uri(str(value) if "://" in str(value) else str(value).replace(":/", "://", 1))
        raise ValueError(f"{shown} is a URI, but only a path is taken here: of this machine, or of storage that is mounted on all machines")
    return value


def is_registered(model: object) -> bool:
    """Whether it is a model of MLflow's registry; else it is a folder."""
    return str(model).startswith(REGISTERED)


def model_parts(model: object) -> tuple[str, str | None, str | None]:
    """Name, alias and version of a registered model, of which the second or the third is None. Raises ValueError for what names none."""
    match = MODEL.fullmatch(str(model))
    if match is None:
        raise ValueError(f"'{model}' names no registered model: write models:/name@alias or models:/name/version")
    return match[1], match[2], match[3]


def _model(value: object) -> str:
    if is_registered(value):
        model_parts(value)
        return str(value)
    if not isinstance(value, str | os.PathLike):
        raise ValueError("a model is a folder, or models:/name@alias")
    try:
        return place(value)
    except ValueError as error:
        raise ValueError(f"{error}; a model that MLflow has registered is models:/name@alias") from None


Uri = Annotated[str, PlainSerializer(public_uri, return_type=str, when_used="json")]  # recorded without its credentials
PLACE = BeforeValidator(place)  # marks the fields that name a place
PathOrUri = Annotated[Uri, PLACE]  # a local path, or a URI of a store, for StoragePath
LocalPath = Annotated[Path, BeforeValidator(_local)]  # a path where files are made and read by name
PathOrModelUri = Annotated[Uri, BeforeValidator(_model)]  # a place of a model, or one that MLflow has registered: models:/name@alias
PathOrName = Annotated[str, AfterValidator(_no_uri)]  # a local path, or a name that is looked up elsewhere, such as on a hub

"""The HTTP API: its routes, and what they promise in OpenAPI."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from ms2sl import __version__
from ms2sl.data.resampling import joined
from ms2sl.systems.registry import system
from ms2sl.training.checkpoint import ModelCard
from serve import problems
from serve.formats import DRAWN, FORMATS, head, model_description, negotiate_media_type, rounded
from serve.middleware import DOCS, Answers, log_fault
from serve.openapi import LINE_EXAMPLE, LINES, REFUSED, REMARKS, SAID, SIGNED
from serve.problems import Problem, unknown
from serve.request_parsing import SignRequest, read

if TYPE_CHECKING:
    from serve.ingress import Frontend

PAGE = Path(__file__).parent / "page"


def make(service: "Frontend") -> FastAPI:
    """The application of one frontend."""
    api = FastAPIOffline(
        title="ms2sl", version=__version__, description="Text or speech in, sign-language keypoints out.", redoc_url=None, static_url=DOCS
    )
    problems.install(api)
    settings = service.service
    api.add_middleware(Answers, requests=service.requests)
    if settings.cors_origins:
        shared = {"allow_methods": ["GET", "POST"], "allow_headers": ["*"], "expose_headers": ["Retry-After", REMARKS]}
        api.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, **shared)

    async def authorised(token: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> None:
        given = token.credentials.encode() if token else b""
        matches = [hmac.compare_digest(given, key.encode()) for key in service.keys]  # all of them, so that time tells nothing
        if service.keys and not any(matches):
            detail = "send an API key in the header Authorization: Bearer …"
            raise Problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})

    async def asked(request: Request) -> SignRequest:
        return await read(request, settings.limits)

    protected = [Depends(authorised)]

    @api.post(
        "/v1/signs",
        response_class=Response,
        summary="Sign a text or a recording",
        openapi_extra=SAID,
        dependencies=protected,
        responses=REFUSED | {200: SIGNED},
    )
    async def signs(request: Request) -> Response:
        """`.pose` by default; also JSON, GIF and MP4. Of any length: what is long is signed part by part, and the parts joined."""
        kind = negotiate_media_type(request.headers.get("accept", ""))
        if kind is None:
            raise Problem(HTTPStatus.NOT_ACCEPTABLE, f"there is {', '.join(FORMATS)}")
        async with service.admitted():
            body, remarks = await Limit(settings.request_timeout_s, "send less, or use /v1/signs/stream").keep(signed(request, kind))
        more = {REMARKS: in_header("; ".join(remarks))} if remarks else {}
        return Response(body, media_type=kind, headers={"Cache-Control": "no-store"} | more)

    async def signed(request: Request, kind: str) -> tuple[bytes, tuple[str, ...]]:
        most = settings.limits.rendered_frames if kind in DRAWN else None
        parts, frames = [], 0
        ask = await asked(request)
        async with aclosing(service.sign(ask)) as signing:
            async for served, poses in signing:
                parts.append(poses)
                frames, card = frames + poses.n_frames, served.card
                if most is not None and frames > most:
                    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"more than {most} frames are not drawn: send less, or ask for .pose")
        return await service.encode(joined(parts), card.skeleton, kind), remarks_on(ask, card)

    @api.post(
        "/v1/signs/stream",
        response_class=StreamingResponse,
        summary="Sign a text or a recording, frame by frame",
        openapi_extra=SAID,
        dependencies=protected,
        responses=REFUSED | {200: {"description": "Lines of JSON.", "content": {LINES: {"example": LINE_EXAMPLE}}}},
    )
    async def stream(request: Request) -> StreamingResponse:
        """Lines of JSON as frames are made: `start`, then `frames`, then `end`, or `error` with the fields of a problem."""
        lines = streamed(request)
        first = await anext(lines)  # what is wrong with the request is the answer's status
        return StreamingResponse(chained(first, lines), media_type=LINES, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def streamed(request: Request) -> AsyncIterator[bytes]:
        n_frames, started = 0, False
        async with service.admitted():
            try:
                ask = await Limit(settings.request_timeout_s, "send less").keep(asked(request))
                limit = Limit(settings.stream_timeout_s, "send it in parts")
                async with aclosing(service.sign(ask)) as signing:
                    while part := await limit.keep(anext(signing, None)):
                        served, poses = part
                        remarks = () if started else remarks_on(ask, served.card)
                        more = {"remarks": remarks} if remarks else {}
                        before = b"" if started else line("start", head(poses, served.card.skeleton, served.card.parts) | more)
                        yield before + line("frames", {"first": n_frames, "frames": rounded(poses)})
                        n_frames, fps, started = n_frames + poses.n_frames, poses.fps, True
                yield line("end", {"n_frames": n_frames, "seconds": n_frames / fps})
            except Exception as error:
                if not started:
                    raise
                if not isinstance(error, Problem):
                    log_fault(error)
                yield line("error", (error if isinstance(error, Problem) else unknown()).details())

    async def chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async with aclosing(rest):
            yield first
            async for each in rest:
                yield each

    @api.get("/v1/model", summary="What is served", dependencies=protected, responses={status: REFUSED[status] for status in (401, 503)})
    async def model() -> dict[str, Any]:
        """Version, skeleton, languages and training data of the model; the limits of requests, and the formats of answers."""
        served = await service.served()
        sampling = system(served.card.kind).options(settings.sampling.of(system(served.card.kind))).model_dump()
        more = {"failure": served.failure} if served.failure else {}
        return (
            model_description(served.card, served.version)
            | {"sampling": sampling, "limits": settings.limits.model_dump(), "formats": list(FORMATS)}
            | more
        )

    @api.get("/v1/health", summary="Whether it can sign", responses={503: REFUSED[503]})
    async def health() -> dict[str, str]:
        """Asks a sampler; without an API key."""
        return {"status": "ok", "version": (await service.served()).version}

    @api.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    api.mount("/page", StaticFiles(directory=PAGE))
    return api


class Limit:
    """A time from now until which all that is awaited must be done."""

    def __init__(self, seconds: float, advice: str):
        self.problem = Problem(HTTPStatus.GATEWAY_TIMEOUT, f"it took more than {seconds:g} s: {advice}")
        self.until = asyncio.get_running_loop().time() + seconds

    async def keep(self, awaited: Awaitable):
        """Its result. Raises Problem when the time is over."""
        try:
            async with asyncio.timeout_at(self.until):
                return await awaited
        except TimeoutError:
            raise self.problem from None


def in_header(text: str) -> str:
    """In the characters that a header may have; others are escaped as Python does."""
    return "".join(letter if " " <= letter <= "~" else ascii(letter)[1:-1] for letter in text)


def remarks_on(ask: SignRequest, card: ModelCard) -> tuple[str, ...]:
    """What is odd about a request that a model of this card signs."""
    return system(card.kind).remarks(card, ask.utterance)


def line(kind: str, content: dict) -> bytes:
    return json.dumps({"type": kind} | content | {"type": kind}, separators=(",", ":")).encode() + b"\n"

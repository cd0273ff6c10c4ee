"""Errors as problem details (RFC 9457): what was wrong, and what to do."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(BaseModel):
    """The body of an error."""

    type: str = Field("about:blank")
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["text: 'ß' has 'ß' in it; the model learned only: abcdefghijklmnopqrstuvwxyz"])


class Problem(Exception):
    """Ends a request with an error that its sender can do something about."""

    def __init__(self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None):
        super().__init__(status)  # and not its detail, which may quote the user and be logged
        self.status, self.detail, self.headers = status, detail, headers or {}

    def details(self) -> dict:
        return ProblemDetails(title=self.status.phrase, status=self.status, detail=self.detail).model_dump()

    def response(self) -> JSONResponse:
        return JSONResponse(self.details(), self.status, self.headers, MEDIA_TYPE)


def unknown() -> Problem:
    """A fault of ours."""
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong here, not with what you sent: try again")


def restarting() -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the samplers are restarting: try again", {"Retry-After": "5"})


def too_many_requests() -> Problem:
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once: try again in a second", {"Retry-After": "1"})


def install(api: FastAPI) -> None:
    """All errors of the API become problem details."""

    @api.exception_handler(Problem)
    async def known(_request: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @api.exception_handler(HTTPException)
    async def by_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        advice = {
            404: f"there is nothing at {request.url.path}; see /docs",
            405: f"{request.method} is not for {request.url.path}; see /docs",
        }
        detail = advice.get(error.status_code, str(error.detail))
        return Problem(HTTPStatus(error.status_code), detail, dict(error.headers or {})).response()

    @api.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        detail = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail).response()

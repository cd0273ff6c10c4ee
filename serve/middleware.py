"""What all answers have in common."""

import logging
import traceback

from ray.exceptions import TaskCancelledError
from ray.util.metrics import Counter
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import unknown

log = logging.getLogger("ray.serve")
DOCS = "/docs/assets"
ONLY_OURS = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
INLINE = "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"  # as the page of /docs has it
HEADERS = {"Content-Security-Policy": ONLY_OURS, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


def log_fault(error: Exception) -> None:
    """Where it happened, and not its message, which may quote what was sent."""
    log.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))


class Answers:
    """ASGI middleware: counts answers and adds headers to them; what goes wrong inside is logged, without what was sent, and not told."""

    def __init__(self, app: ASGIApp, requests: Counter):
        self.app, self.requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                route, headers = getattr(scope.get("route"), "path", "none"), MutableHeaders(scope=message)
                headers.update(HEADERS)
                if route == "/docs":
                    headers["Content-Security-Policy"] = f"{ONLY_OURS}; {INLINE}"
                self.requests.inc(tags={"route": route, "status": str(message["status"])})
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, answer)
        except (ClientDisconnect, TaskCancelledError):  # the second is how Ray tells it in the middle of a stream
            self.requests.inc(tags={"route": getattr(scope.get("route"), "path", "none"), "status": "left"})
        except Exception as error:
            log_fault(error)
            if not started:
                await unknown().response()(scope, receive, answer)

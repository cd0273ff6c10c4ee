"""The sampler behind HTTP, on Ray Serve.

serve run serve.app:build model=runs/quickstart/model
curl -X POST localhost:8000/v1/signs -H 'content-type: application/json' -d '{"text": "hello"}' -o hello.pose
"""

import asyncio
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response
from pydantic import Field
from ray import serve

from ms2sl.clip import Utterance
from ms2sl.config import Config
from ms2sl.errors import InputError
from ms2sl.posefile import to_bytes
from ms2sl.producers.ms2sl import MS2SLProducer

LONGEST_TEXT = 200


class SignRequest(Config):
    """What to sign, and how."""

    text: str = Field(min_length=1, max_length=LONGEST_TEXT, examples=["hello"])
    seed: int = 0
    seconds: float | None = Field(None, gt=0, le=120, description="length; by default the model decides")


@serve.deployment(max_ongoing_requests=32, health_check_timeout_s=60)
class Sampler:
    """Holds the model and samples batches of requests."""

    def __init__(self, model: str, steps: int):
        self.producer = MS2SLProducer.load(Path(model), steps=steps)

    def model(self) -> dict:
        """The card of the model, without its weights."""
        return self.producer.card.model_dump(mode="json", exclude={"skeleton"}) | {"skeleton": self.producer.skeleton.name}

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.02)
    async def sign(self, requests: list[SignRequest]) -> list[bytes | InputError]:
        """`.pose` files. One bad request does not spoil its batch."""
        return await asyncio.to_thread(lambda: [self._sign(request) for request in requests])

    def _sign(self, request: SignRequest) -> bytes | InputError:
        try:
            utterance = Utterance("text", text=request.text, seconds=request.seconds)
            return to_bytes(self.producer.produce([utterance], seed=request.seed)[0], self.producer.skeleton)
        except InputError as error:
            return error


api = FastAPI(title="MS2SL", description="Text in, sign-language keypoints out.")


@serve.deployment
@serve.ingress(api)
class Ingress:
    """The HTTP API."""

    def __init__(self, sampler):
        self.sampler = sampler

    @api.post("/v1/signs", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
    async def signs(self, request: SignRequest) -> Response:
        """Signing of a text, as a `.pose` file."""
        signed = await self.sampler.sign.remote(request)
        if isinstance(signed, InputError):
            raise HTTPException(422, str(signed))
        return Response(signed, media_type="application/octet-stream")

    @api.get("/v1/model")
    async def model(self) -> dict:
        """What is being served."""
        return await self.sampler.model.remote()


def build(args: dict[str, str]) -> serve.Application:
    """``model``: a checkpoint folder; ``steps``: sampling steps."""
    return Ingress.bind(Sampler.bind(str(Path(args.get("model", "runs/quickstart/model")).absolute()), int(args.get("steps", 8))))

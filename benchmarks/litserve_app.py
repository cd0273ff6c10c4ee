"""The same sampler behind LitServe, to compare with: text in, .pose out, batches of the same size.

python -m benchmarks.litserve_app MODEL PORT BATCH
"""

import sys
from pathlib import Path

import litserve
import torch

from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.types import Utterance
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from serve.warmup import warm_up


class Signs(litserve.LitAPI):
    """What a user of LitServe would write."""

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.producer = MS2SLProducer.load(Path(sys.argv[1]), precision="auto")
        warm_up(self.producer, self.max_batch_size)

    def decode_request(self, request: dict) -> dict:
        return request

    def predict(self, requests):
        several = requests if isinstance(requests, list) else [requests]
        utterances = [Utterance("text", text=each["text"]) for each in several]
        made = self.producer.produce(utterances, Sampling(steps=several[0]["steps"]), seed=0)
        return made if isinstance(requests, list) else made[0]

    def encode_response(self, poses):
        from fastapi import Response

        return Response(to_bytes(poses, self.producer.skeleton), media_type="application/pose")


if __name__ == "__main__":
    batch = int(sys.argv[3])
    api = Signs(max_batch_size=batch, batch_timeout=0.05 if batch > 1 else 0.0, api_path="/v1/signs")
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False
    )

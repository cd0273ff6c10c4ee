"""The deployment that draws, in a process of its own: pictures take long, and frames must not wait for them."""

import asyncio

from ms2sl.clip import Poses
from ms2sl.skeleton import Skeleton
from serve.formats import FORMATS


class Renderer:
    """Poses → GIF or MP4."""

    async def draw(self, poses: Poses, skeleton: Skeleton, kind: str) -> bytes:
        return await asyncio.to_thread(FORMATS[kind], poses, skeleton)

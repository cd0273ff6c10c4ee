"""The deployment that draws, in a process of its own: pictures take long, and frames must not wait for them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from serve.formats import FORMATS


class Renderer:
    """Poses → GIF or MP4, one after another: a thread goes on though its client has left."""

    def __init__(self):
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="drawing")

    async def draw(self, poses: Poses, skeleton: Skeleton, kind: str) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self.thread, FORMATS[kind], poses, skeleton)

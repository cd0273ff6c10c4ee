"""What Ray itself prints in the terminal of a job: that a machine or a worker died, without the last lines of its log."""

import re
import sys
from collections import deque

from tqdm import tqdm

BEYOND = re.compile(r"\n|Possible reasons include|Last \d+ lines of|This can happen when|To troubleshoot")

REMEMBERED = 20  # lines that are not repeated


def shorten() -> None:
    """From now on, in this process. What is a page to Ray is a line here, above a bar instead of in it, and not repeated."""
    from ray._private import worker

    said: deque[str] = deque(maxlen=REMEMBERED)

    def say(data: dict, ignore_prefix: bool) -> None:
        for message in data["lines"]:
            line = BEYOND.split(message.strip(), maxsplit=1)[0].strip()
            if line not in said:
                tqdm.write(f"Ray: {line}", file=sys.stderr)
                said.append(line)

    worker.print_to_stdstream = say

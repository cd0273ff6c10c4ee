"""What Ray itself prints in the terminal of a job: that a machine or a worker died, without the last lines of its log."""

import re
import sys

from tqdm import tqdm

BEYOND = re.compile(r"\n|Possible reasons include|Last \d+ lines of|This can happen when|To troubleshoot")


def shorten() -> None:
    """From now on, in this process. What is a page to Ray is a line here, above a bar instead of in it, and not repeated."""
    from ray._private import worker

    said: list[str] = []

    def say(data: dict, ignore_prefix: bool) -> None:
        for message in data["lines"]:
            line = BEYOND.split(message.strip(), maxsplit=1)[0].strip()
            if line not in said[-1:]:
                tqdm.write(f"Ray: {line}", file=sys.stderr)
            said[:] = [line]

    worker.print_to_stdstream = say

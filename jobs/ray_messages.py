"""What Ray itself prints in the terminal of a job: that a machine or a worker died, without the last lines of its log."""

import re
import sys

from tqdm import tqdm

BEYOND = re.compile(r"\n|Possible reasons include|Last \d+ lines of|This can happen when")


def shorten() -> None:
    """From now on, in this process. What is a page to Ray is a line here, and above a bar instead of in it."""
    from ray._private import worker

    worker.print_to_stdstream = _print


def _print(data: dict, ignore_prefix: bool) -> None:
    for message in data["lines"]:
        tqdm.write(f"Ray: {BEYOND.split(message.strip(), maxsplit=1)[0].strip()}", file=sys.stderr)

"""All commands by name, as ``ms2sl train …`` or ``python -m jobs train …``; each is a module, ``python -m jobs.train …``."""

import os
import runpy
import sys
from pathlib import Path

from ms2sl.io.uri import public

COMMANDS = {  # modules of this package
    "prepare": "make training-ready shards of a corpus",
    "train": "train a model, or go on with a run",
    "produce": "sign texts or recordings",
    "evaluate": "judge models and compare them",
    "ablate": "train and judge variants of a model",
    "tune": "search settings",
    "quickstart": "all of it on the embedded corpus",
}


def main() -> None:
    program = "python -m jobs" if Path(sys.argv[0]).name == "__main__.py" else Path(sys.argv[0]).name
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        print(usage(program))
    elif name in COMMANDS:
        del sys.argv[1]
        sys.path.insert(0, os.getcwd())  # as python -m has it: one's own corpora and search spaces are found there
        runpy.run_module(f"jobs.{name}", {"PROGRAM": f"{program} {name}"}, run_name="__main__", alter_sys=True)
    else:
        complaint = f"there is no command {public(repr(name))}" if name else "a command is needed"
        print(f"{usage(program)}\n\nerror: {complaint}", file=sys.stderr)
        sys.exit(2)  # as for a wrong flag


def usage(program: str) -> str:
    commands = "\n".join(f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items())
    return f"usage: {program} COMMAND [OPTIONS]\n\n{commands}\n\n{program} COMMAND --help tells the options of a command."


if __name__ == "__main__":
    main()

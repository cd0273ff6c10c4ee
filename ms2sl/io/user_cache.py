"""The folder of this user for what can be made again."""

import os
from pathlib import Path


def user_cache() -> Path:
    """``~/.cache/ms2sl``, or as ``XDG_CACHE_HOME`` says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ms2sl"

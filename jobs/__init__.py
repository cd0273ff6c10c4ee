"""The commands, on Ray."""

from ms2sl.extras import require

require("ray", "ray", "pydantic-settings")

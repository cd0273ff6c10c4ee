"""Parts of ``jobs.tune``."""

from ms2sl.extras import require

require("tune", "optuna", "scikit-learn", "matplotlib")

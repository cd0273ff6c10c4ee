"""Parts of ``jobs.tune``."""

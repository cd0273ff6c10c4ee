"""The one exception for what a user can cause and mend."""


class InputError(ValueError):
    """Says what was wrong, where, and what to do. Commands print it without a traceback."""

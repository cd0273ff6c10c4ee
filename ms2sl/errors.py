"""The one exception for what a user can cause and mend."""

from ms2sl.io.uri import public


class InputError(ValueError):
    """Says what was wrong, where, and what to do, without the credentials of URIs. Commands print it without a traceback."""

    def __init__(self, *message: object):
        super().__init__(*map(public, message))

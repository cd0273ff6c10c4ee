"""S3 that may be away for a while: pyarrow's own gives up within two seconds."""

from pyarrow import fs

ATTEMPTS = 10  # a minute or two, since the pauses between them grow


class PatientS3FileSystem(fs.S3FileSystem):
    """Also where it was pickled, which pyarrow's own does not keep."""

    def __init__(self, **options):
        super().__init__(**options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS))

    @classmethod
    def of(cls, store: fs.S3FileSystem) -> "PatientS3FileSystem":
        """The same store, with the same credentials or where to find them."""
        return cls(**_options(store))

    def __reduce__(self):
        return _make, (_options(super()),)


def _options(store) -> dict:
    """The arguments that would make it."""
    _, (options,) = store.__reduce__()
    return options


def _make(options: dict) -> PatientS3FileSystem:
    return PatientS3FileSystem(**options)

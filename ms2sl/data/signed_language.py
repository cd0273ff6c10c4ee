"""ISO 639-3 codes of sign languages, as people ask for them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from ms2sl.errors import InputError

UNDETERMINED = "und"
PATTERN = "[a-z]{3}"
SPOKEN = re.compile("[A-Za-z]{2}([-_].*)?")  # how most BCP 47 tags begin


def is_code(value: str) -> bool:
    """Whether it is written as ISO 639-3 codes are."""
    return re.fullmatch(PATTERN, value) is not None


def check_signed_language(value: str) -> str:
    """The code. Raises InputError for what is written otherwise; whether there is a sign language of that code is not asked."""
    if is_code(value):
        return value
    spoken = "; that looks like a spoken language (BCP 47), and the one to sign in is asked for" if SPOKEN.fullmatch(value) else ""
    raise InputError(
        f"{value!r} is no signed_language: write an ISO 639-3 code of three lower-case letters, such as ase (American Sign Language), "
        f"gsg (German) or bfi (British){spoken}"
    )


SignedLanguage = Annotated[str, AfterValidator(check_signed_language), Field(json_schema_extra={"pattern": f"^{PATTERN}$"})]

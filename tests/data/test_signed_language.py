import pytest
from pydantic import TypeAdapter

from ms2sl.data.signed_language import SignedLanguage, check_signed_language, is_code
from ms2sl.errors import InputError


@pytest.mark.parametrize("code", ["ase", "gsg", "bfi", "und"])
def test_codes_are_three_lower_case_letters(code):
    assert is_code(code)
    assert check_signed_language(code) == code
    assert TypeAdapter(SignedLanguage).validate_python(code) == code


@pytest.mark.parametrize("value", ["", "ASE", "as", "asel", "as1", "ase\n", " ase", "äse", "American"])
def test_anything_else_is_refused_with_what_is_expected(value):
    assert not is_code(value)
    with pytest.raises(InputError) as caught:
        check_signed_language(value)
    assert str(caught.value).startswith(
        f"{value!r} is no signed_language: write an ISO 639-3 code of three lower-case letters, such as ase"
    )


@pytest.mark.parametrize(
    ("value", "spoken"), [("de", True), ("en-US", True), ("pt_BR", True), ("DE", True), ("sgn-ase", False), ("DGS", False)]
)
def test_of_a_tag_of_a_spoken_language_it_is_said_that_the_signed_one_is_meant(value, spoken):
    with pytest.raises(InputError) as caught:
        check_signed_language(value)
    assert str(caught.value).endswith("that looks like a spoken language (BCP 47), and the one to sign in is asked for") == spoken


def test_the_schema_of_a_code_says_its_form():
    assert TypeAdapter(SignedLanguage).json_schema() == {"type": "string", "pattern": "^[a-z]{3}$"}

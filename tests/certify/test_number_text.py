"""Numbers as text."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robcert.certify.errors import InvalidParameterError
from robcert.certify.number_text import number, share


@given(st.integers(1, 255), st.integers(1, 255))
def test_a_fraction_is_the_quotient(top: int, bottom: int) -> None:
    assert number(f"{top}/{bottom}") == top / bottom


@given(st.floats(0, 1e6))
def test_a_decimal_is_read_back(value: float) -> None:
    assert number(repr(value)) == value


@given(st.integers(1, 1000))
def test_a_percentage_is_the_share_to_the_last_digit(parts: int) -> None:
    """33.3 / 100 is not 0.333; rounding twice would fail 333 of 1000 images at 33.3 %."""
    assert share(f"{parts / 10}%") == parts / 1000


@pytest.mark.parametrize(
    "text", ["", "a", "1/0", "8/", "nan", "inf", "1/2/3", "0x3", "1 2", "0. 5", "1_0", "٣", "1e400"]
)
def test_what_is_no_number_is_named(text: str) -> None:
    with pytest.raises(InvalidParameterError, match=re.escape(f"{text!r} is not a number")):
        number(text)


def test_blanks_may_stand_around_a_number_and_its_bar() -> None:
    assert number(" 8 / 255 ") == 8 / 255
    assert share(" 40 % ") == number(" .4") == 0.4


@pytest.mark.parametrize("text", ["1e99999999", "-1E+99999999", "1e-99999999", "9" * 100_000])
def test_a_number_of_very_many_digits_is_refused_at_once(text: str) -> None:
    """10 to the power of 99999999 as an exact number takes minutes and gigabytes."""
    before = time.process_time()
    with pytest.raises(InvalidParameterError, match="is not a number") as caught:
        number(text)
    assert time.process_time() - before < 1
    assert len(str(caught.value)) < 200

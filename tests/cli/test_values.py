import pytest

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.cli.shell import values


@pytest.mark.parametrize("text", ["0", "-8/255"])
def test_epsilon_is_positive(text: str) -> None:
    with pytest.raises(InvalidParameterError, match=r"^epsilon must be a positive"):
        values.epsilon(text)


def test_epsilon_fits_into_a_pixel_in_linf() -> None:
    assert values.epsilon("1", Norm.LINF) == 1
    assert values.epsilon("28", Norm.L2) == 28
    for text, meant in (("8", "8/255"), ("300", "8/255"), ("1.5", "8/255")):
        with pytest.raises(InvalidParameterError) as refused:
            values.epsilon(text, Norm.LINF)
        assert f"did you mean {meant}?" in refused.value.hint


@pytest.mark.parametrize("text", ["3-1", "0,5-2"])
def test_a_range_that_runs_backwards_is_an_error(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="from the smaller to the larger"):
        values.positions(text)


def test_positions_keep_their_order_and_appear_once() -> None:
    assert values.positions("5,0-2, 1") == (5, 0, 1, 2)


@pytest.mark.parametrize("text", ["", "a", "1,", "-3", "2-"])
def test_positions_are_whole_numbers(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="--indices takes positions"):
        values.positions(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90.0), ("90s", 90.0), ("1.5h", 5400.0), ("10 m", 600.0)]
)
def test_time_spans(text: str, expected: float) -> None:
    assert values.seconds(text, "--time-budget") == expected
    assert values.positive_seconds(text, "--budget", 1.0) == expected


@pytest.mark.parametrize("text", ["", "m", "10 days", "-1s"])
def test_what_is_no_time_span_is_named(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="--time-budget takes a time span such as"):
        values.seconds(text, "--time-budget")


@pytest.mark.parametrize("text", ["0", "0s", "0.0h"])
def test_a_budget_of_no_time_is_refused_by_its_option(text: str) -> None:
    assert values.positive_seconds(None, "--budget", 2.5) == 2.5
    assert values.seconds(text, "--time-budget") == 0
    with pytest.raises(InvalidParameterError, match="--budget must be above 0"):
        values.positive_seconds(text, "--budget", 2.5)


def test_batch_size_is_auto_or_a_number() -> None:
    assert values.batch_size("auto") is None
    assert values.batch_size("8") == 8
    with pytest.raises(InvalidParameterError, match="--batch-size must be auto"):
        values.batch_size("0")


@pytest.mark.parametrize("text", ["0-99999999999999999999", "9" * 5000, "²"])
def test_positions_have_as_many_digits_as_a_data_set_needs(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="--indices takes positions"):
        values.positions(text)


@pytest.mark.parametrize("text", ["0-999999999999", "0-4194303,7"])
def test_a_list_of_more_images_than_fit_into_memory_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="--indices names more than 4194304 images"):
        values.positions(text)


@pytest.mark.parametrize("text", ["²", "9" * 5000, "1e3", " 2"])
def test_counts_are_digits_and_few_of_them(text: str) -> None:
    for read in (values.batch_size, values.workers):
        with pytest.raises(InvalidParameterError, match="must be auto or a positive whole number"):
            read(text)


def test_a_time_span_is_a_number_that_a_clock_reaches() -> None:
    with pytest.raises(InvalidParameterError, match="takes a time span"):
        values.seconds("9" * 400, "--time-budget")


@pytest.mark.parametrize("text", ["1000000001", "999999999999999h"])
def test_a_time_that_no_clock_can_wait_for_is_refused(text: str) -> None:
    assert values.seconds("1000000000s", "--budget") == 1e9
    with pytest.raises(InvalidParameterError, match="--budget must be at most 1000000000 seconds"):
        values.seconds(text, "--budget")


def test_an_error_in_a_value_names_the_option() -> None:
    assert values.of_option("--radii", values.numbers, "0.5,1") == (0.5, 1)
    with pytest.raises(InvalidParameterError) as refused:
        values.of_option("--eps", lambda text: values.epsilon(text, Norm.LINF), "8")
    assert str(refused.value).startswith("--eps: ")
    assert "8/255" in refused.value.hint

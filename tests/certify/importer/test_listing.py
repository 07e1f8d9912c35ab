from __future__ import annotations

import onnx
import pytest
from onnx_cases.listing import PAGE, page


@pytest.mark.slow
def test_the_page_of_operators_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    if f"onnx {onnx.__version__}" not in text:
        pytest.skip("written with another version of onnx, which has other cases")
    assert text == page(), "run `python -m onnx_cases.listing` in the folder tests/support"

"""Every claimed operator against the ONNX project's own cases."""

from __future__ import annotations

import pytest
from onnx_cases.node_cases import cases_of, claimed, expanded_cases, problem
from onnx_cases.skips import DIFFERENT, NOT_RUN, reason

NO_CASES = {
    "GlobalLpPool",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
"""Claimed operators for which the ONNX project has no case; test_older_versions.py has one."""


DEFINED = ("Attention", "RotaryEmbedding", "SwiGLU")
"""Operators that the table lacks and transformers use."""


@pytest.mark.parametrize("operator", claimed())
def test_cases_pass_or_are_listed_with_a_reason(operator: str) -> None:
    cases = cases_of(operator)
    assert cases or operator in NO_CASES
    assert complaints(cases, fix_all_but=99) == []


@pytest.mark.slow
@pytest.mark.parametrize("operator", claimed())
def test_cases_pass_with_constant_parameters(operator: str) -> None:
    assert complaints(cases_of(operator), fix_all_but=1) == []


@pytest.mark.slow
def test_operators_written_out_in_others_pass() -> None:
    assert complaints(expanded_cases(), fix_all_but=99) == []


@pytest.mark.slow
@pytest.mark.parametrize("operator", DEFINED)
def test_operators_that_onnx_defines_by_others_are_written_out(operator: str) -> None:
    cases = cases_of(operator)
    assert len(cases) > 2
    assert complaints(cases, fix_all_but=99) == []


def complaints(names: list[str], *, fix_all_but: int) -> list[str]:
    """Cases that fail without being listed, or pass although they are."""
    result = []
    for name in names:
        if reason(name, NOT_RUN):
            continue
        wrong, listed = problem(name, fix_all_but=fix_all_but), reason(name, DIFFERENT)
        if wrong and not listed:
            result.append(f"{name}: {wrong}")
        elif listed and not wrong:
            result.append(f"{name} passes but is listed: {listed}")
    return result

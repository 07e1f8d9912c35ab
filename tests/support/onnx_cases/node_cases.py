"""The ONNX project's backend node tests, and how one of them is run on a twin."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx.defs
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from robcert.certify.errors import RobcertError
from robcert.certify.importer.graph.elements import LIMITS, tensor_of
from robcert.certify.importer.operators.operator_table import OPERATORS
from robcert.certify.importer.twin.twin import CONTROL, build_twin

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One graph with inputs and the outputs that it should give."""

    model: ModelProto
    data_sets: list[tuple[list[Any], list[Any]]]
    rtol: float


@functools.cache
def node_cases() -> dict[str, Case]:
    """Every case by name; building them overflows and divides by zero on purpose."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        loaded: Any = load_model_tests(kind="node")
        return {case.name: Case(case.model, case.data_sets, case.rtol) for case in loaded}


def claimed() -> list[str]:
    """Operators of ONNX's own domain that the table has."""
    names = {name for domain, name in OPERATORS if domain == ""} | CONTROL
    return sorted(name for name in names if onnx.defs.has(name))


def cases_of(operator: str) -> list[str]:
    """Names of the cases that are one node of ``operator``."""
    return [
        name
        for name, case in node_cases().items()
        if [node.op_type for node in case.model.graph.node] == [operator]
    ]


def expanded_cases() -> list[str]:
    """Names of the cases that are graphs of several claimed operators."""
    known = set(claimed())
    return [
        name
        for name, case in node_cases().items()
        if len(case.model.graph.node) > 1
        and {node.op_type for node in case.model.graph.node} <= known
    ]


def problem(name: str, *, fix_all_but: int) -> str:
    """What is wrong with the twin of a case; empty if nothing."""
    case = node_cases()[name]
    try:
        return difference(case, fix_all_but=fix_all_but)
    except (RobcertError, ValueError, AttributeError, TypeError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"


def as_tensor(array: Any) -> Tensor:
    """An input as the twin carries it."""
    if isinstance(array, TensorProto):
        return tensor_of(array)
    return tensor_of(numpy_helper.from_array(np.asarray(array)))


def twin_outputs(case: Case, inputs: list[Any], *, fix_all_but: int) -> list[Any]:
    """Outputs of the case's twin, inputs from position ``fix_all_but`` on being constants."""
    names = [entry.name for entry in case.model.graph.input]
    fixed = {name: as_array(v) for name, v in list(zip(names, inputs, strict=True))[fix_all_but:]}
    twin = build_twin(case.model, constants=fixed)
    given = {name: array for name, array in zip(names, inputs, strict=True) if name in twin.inputs}
    result = twin(*(as_tensor(given[name]) for name in twin.inputs), straight_through=False)
    return list(result) if isinstance(result, tuple) else [result]


def difference(case: Case, *, fix_all_but: int) -> str:
    """What is wrong with the twin's outputs; empty if nothing."""
    casts = {node.op_type for node in case.model.graph.node} <= {"Cast", "CastLike"}
    for inputs, expected in case.data_sets:
        outputs = twin_outputs(case, list(inputs), fix_all_but=fix_all_but)
        for number, (got, want) in enumerate(zip(outputs, expected, strict=True)):
            kind = case.model.graph.output[number].type.tensor_type.elem_type
            told = fits(as_array(inputs[0]), kind) if casts else ...
            problem = mismatch(got, as_array(want), case.rtol, told)
            if problem:
                return f"output {number}: {problem}"
    return ""


def fits(x: np.ndarray[Any, Any], kind: int) -> Any:
    """Where ONNX says what a cast of ``x`` to the type ``kind`` gives.

    It does not for floats beyond a range of integers: NumPy answers by processor and version.
    """
    if kind not in LIMITS or x.dtype.kind != "f":
        return ...
    low, high = LIMITS[kind]
    return (low <= x) & (x <= high)


TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2}
"""Twice the spacing of half-precision numbers, in which the cases' answers were computed."""


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """An expected output as an array."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def mismatch(got: Tensor, want: np.ndarray[Any, Any], rtol: float, told: Any = ...) -> str:
    """How a tensor differs from the array it should equal at ``told``; empty if it does not."""
    if tuple(got.shape) != want.shape:
        return f"shape {tuple(got.shape)} instead of {want.shape}"
    have, should = got.detach().double().numpy()[told], want.astype(np.float64)[told]
    tolerance = max(rtol, TOLERANCE.get(want.dtype.name, 0.0))
    if np.allclose(have, should, rtol=tolerance, atol=1e-5, equal_nan=True):
        return ""
    with np.errstate(all="ignore"):
        return f"values differ by up to {np.nanmax(np.abs(have - should))}"

"""Which operators have linear bounds, found out by translating their ONNX cases for `verify`."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from onnx_cases.node_cases import as_array, as_tensor, cases_of, node_cases

from robcert.certify.errors import RobcertError
from robcert.certify.importer.twin.twin import build_twin
from robcert.certify.verification.network import (
    Activation,
    Affine,
    Input,
    Network,
    Product,
    traced,
    translated,
)

TRIED = 4
"""Cases per operator that are translated."""


def bounds_of(operator: str) -> str:
    """How the outputs of ``operator`` are bounded, as a function of its first input."""
    kinds = set()
    for name in cases_of(operator)[:TRIED]:
        try:
            kinds.add(_kind(_network(name)))
        except (RobcertError, ValueError, AttributeError, TypeError, RuntimeError, LookupError):
            continue
    return ", ".join(kind for kind in ("exact", "ReLUs", "lines", "planes") if kind in kinds) or "-"


def _network(name: str) -> Network:
    """The translation of a case's node, whose other inputs are constants."""
    case = node_cases()[name]
    inputs = list(case.data_sets[0][0])
    names = [entry.name for entry in case.model.graph.input]
    fixed = {key: as_array(value) for key, value in list(zip(names, inputs, strict=True))[1:]}
    x = as_tensor(inputs[0])
    if not x.is_floating_point():
        raise TypeError(x.dtype)
    twin = build_twin(case.model, constants=fixed)

    def first_output(batch: torch.Tensor) -> torch.Tensor:
        result: Any = twin(batch[0], straight_through=False)
        return (result[0] if isinstance(result, tuple) else result).flatten()[None]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = translated(*traced(first_output, tuple(x.shape)))
    wanted, found = first_output(x[None]).double(), network(x[None].double())
    if not torch.allclose(wanted, found, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise AssertionError(name)
    return network


def _kind(network: Network) -> str:
    others = [node for node in network.nodes if not isinstance(node, Affine | Input)]
    if any(isinstance(node, Product) for node in others):
        return "planes"
    if any(isinstance(node, Activation) for node in others):
        return "lines"
    return "ReLUs" if others else "exact"

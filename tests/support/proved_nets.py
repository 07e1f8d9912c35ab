"""Small ReLU classifiers as ONNX files, with statements about them that need branch and bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import torch

from robcert.certify.core import Ball, Norm
from robcert.certify.importer import load_classifier
from robcert.certify.proof_check import HEADER_BYTES, digest_of, header
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.proofs import Claim, ProofWriter, require_provable
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model import Classifier
    from robcert.certify.verification.outcome import Decision

SHAPE = (1, 4, 4)
CLASSES = 3


def network(folder: Path, *, seed: int = 0, hidden: int = 10, tail: tuple[str, ...] = ()) -> Path:
    """An ONNX file: convolution, ReLU, two dense layers with a residual sum and ReLUs, scores."""
    draws = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        scale = 1.5 / np.sqrt(np.prod(shape[1:]) if len(shape) == 4 else shape[0])
        return (scale * draws.normal(size=shape)).astype(np.float32)

    weights = {
        "k": weight(3, 1, 3, 3),
        "kb": weight(3),
        "w": weight(48, hidden),
        "wb": weight(hidden),
        "v": weight(hidden, hidden),
        "vb": weight(hidden),
        "u": weight(hidden, CLASSES),
        "ub": weight(CLASSES),
    }
    nodes = [
        om.node("Conv", "x k kb", "c", pads=[1, 1, 1, 1]),
        om.node("Relu", "c", "cr"),
        om.node("Flatten", "cr", "f"),
        om.node("Gemm", "f w wb", "a"),
        om.node("Relu", "a", "ar"),
        om.node("MatMul", "ar v", "b"),
        om.node("Add", "b vb", "bb"),
        om.node("Add", "bb ar", "s"),
        om.node("Relu", "s", "sr"),
        om.node("Gemm", "sr u ub", "z"),
    ]
    last = "z"
    for operator in tail:
        nodes.append(om.node(operator, last, f"{last}{operator}"))
        last = f"{last}{operator}"
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={last: None}, weights=weights)
    return om.saved(folder, made)


@dataclass(frozen=True)
class Proved:
    """A model, a statement about it and its proof."""

    model: Path
    proof: Path
    classifier: Classifier
    claim: Claim
    decision: Decision


def image(seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(SHAPE).astype(np.float32))


def proved(
    folder: Path,
    *,
    norm: Norm = Norm.LINF,
    arithmetic: Arithmetic = Arithmetic.FLOAT32,
    least: int = 4,
    seed: int = 0,
) -> Proved:
    """The smallest statement whose proof has at least ``least`` regions, in a file."""
    model = network(folder, seed=seed)
    classifier = load_classifier(model)
    prover = Prover.of(classifier, arithmetic)
    require_provable(prover, classifier, model)
    x = image()
    y = int(classifier.logits(x[None]).argmax())
    scale = {Norm.LINF: 1.0, Norm.L2: 3.0, Norm.L1: 10.0}[norm]
    for step in range(1, 60):
        ball = Ball(norm, scale * 0.01 * step)
        decision = prover.decide(x, y, ball, method=Method.AUTO, keep_proof=True)
        if decision.proof is not None and len(decision.proof.leaves.row) >= least:
            break
        assert decision.proved, "no radius needs so many regions"
    assert decision.proof is not None
    claim = Claim(7, x, y, ball)
    path = folder / "proof.h5"
    with ProofWriter(path, prover, classifier) as writer:
        writer.add(claim, decision.proof)
    return Proved(model, path, classifier, claim, decision)


def sealed(path: Path) -> None:
    """Write the right hash into a proof file that was changed."""
    digest = digest_of(path, skip=HEADER_BYTES)
    with path.open("r+b") as file:
        file.write(header(digest))

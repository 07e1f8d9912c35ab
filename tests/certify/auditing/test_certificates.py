"""Certificates as a part of an audit: a wrong one ends it, a missing one has its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from campaigns.results_changes import unseal
from command_line import robcert
from onnx import numpy_helper
from onnx_models import linear, node, saved, weights

from robcert.certify import audit
from robcert.certify.errors import ContradictionError, RobcertError
from robcert.certify.report.page import render
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.results import AuditResult

COUNT = 6
EPSILON = 0.01


def files(folder: Path, model: Any) -> tuple[Path, Path]:
    """The model, and images that it classifies correctly."""
    pixels = np.random.default_rng(8).uniform(0.25, 0.75, (COUNT, 4, 4, 3)).astype(np.float32)
    logits = pixels.transpose(0, 3, 1, 2).reshape(COUNT, -1) @ weights(5, 48)
    np.savez(folder / "images.npz", images=pixels, labels=logits.argmax(1))
    return saved(folder, model), folder / "images.npz"


def audited(folder: Path, model: Any, *parts: str) -> AuditResult:
    file, images = files(folder, model)
    return audit(
        file,
        images,
        only=parts,
        eps=EPSILON,
        profile="quick",
        threads=1,
        out=folder / "r.h5",
    )


def without_bounds() -> Any:
    """The linear model, whose logits are divided by 1000 and the remainder taken."""
    made = linear(tail=[node("Mod", "logits thousand", "out", fmod=1)])
    made.graph.initializer.append(numpy_helper.from_array(np.array([1000], np.float32), "thousand"))
    return made


def test_a_wrong_certificate_ends_an_audit(tmp_path: Path) -> None:
    parts = ("attack", "verify")
    found = audited(tmp_path, linear(), *parts)
    assert 0 < found.verify.radius.positive <= COUNT
    assert found.violations().contradictions == ()
    with h5py.File(found.results, "r+") as file:
        (table,) = file["verify"].values()
        table["radius"][:] *= 10
        unseal(file)
    with pytest.raises(
        ContradictionError, match=r"certified to the linf radius .* fault of robcert"
    ):
        audited(tmp_path, linear(), *parts)
    model, images = files(tmp_path, linear())
    typed = ("-m", model, "-d", images, "--out", found.results, "--eps", EPSILON, "--threads", "1")
    chosen = [text for part in parts for text in ("--only", part)]
    ended = robcert("audit", *typed, *chosen, "--profile", "quick", "-q")
    assert ended.status == 2
    assert "fault of robcert" in ended.stderr


def test_an_operator_without_bounds_leaves_the_other_parts(tmp_path: Path) -> None:
    found = audited(tmp_path, without_bounds(), "attack", "verify")
    assert "has no linear bounds" in found.not_available["verify"]
    assert found.not_available["verify"].startswith("node 'out_node' (Mod): operation 'fmod'")
    assert found.attack.n == COUNT
    with pytest.raises(RobcertError, match=r"verify is not available: .*fmod"):
        _ = found.verify
    with ResultStore.read(found.results) as store:
        page = render(store)
    assert found.not_available["verify"].replace("'", "&#39;") in page

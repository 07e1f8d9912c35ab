"""`robcert verify`: a linear model, whose certificates are known, from file to numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from campaigns.results_changes import unseal
from command_line import robcert
from onnx import helper
from onnx_models import images, linear, node, saved, weights

from robcert.certify.api import verify
from robcert.certify.core import Norm
from robcert.certify.errors import ContradictionError, InvalidParameterError
from robcert.certify.report.page import render
from robcert.certify.store.store import ResultStore
from robcert.certify.verification.settings import VerificationSettings

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended
    from numpy.typing import NDArray

COUNT = 8
COMMON = ("--threads", "1", "-q", "--json")
RADII = (0.02, 0.005)


def pixels() -> NDArray[np.float32]:
    found = images(COUNT).pixels(np.arange(COUNT)).numpy()
    return (0.25 + 0.5 * found).astype(np.float32)


def scores() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights ``(48, 5)`` and logits ``(n, 5)``."""
    weight = weights(5, 48).astype(np.float64)
    weight = weight if weight.shape == (48, 5) else weight.T
    return weight, pixels().reshape(COUNT, -1).astype(np.float64) @ weight


def distances(norm: Norm) -> NDArray[np.float64]:
    """Exact distances within the pixel box, which changes those in l1 alone here."""
    weight, logits = scores()
    found = []
    for x, z in zip(pixels().reshape(COUNT, -1), logits, strict=True):
        y = int(z.argmax())
        slopes = [(weight[:, y] - weight[:, k], z[y] - z[k]) for k in range(5) if k != y]
        found.append(
            min(
                _l1(slope, gap, x)
                if norm is Norm.L1
                else gap / np.linalg.norm(slope, norm.dual.order)
                for slope, gap in slopes
            )
        )
    return np.array(found)


def _l1(slope: NDArray[np.float64], gap: float, x: NDArray[np.float32]) -> float:
    """The steepest pixels first, each as far as the box allows."""
    room = np.where(slope > 0, x, 1 - x).astype(np.float64)
    used = 0.0
    for pixel in np.argsort(-np.abs(slope)):
        gain = room[pixel] * abs(slope[pixel])
        if gain >= gap:
            return used + gap / abs(slope[pixel])
        used, gap = used + room[pixel], gap - gain
    return np.inf


def files(folder: Path, made: Any = None) -> tuple[str, ...]:
    labels = scores()[1].argmax(1)
    labels[0] = (labels[0] + 1) % 5  # misclassified
    data = folder / "images.npz"
    np.savez(data, images=pixels().transpose(0, 2, 3, 1), labels=labels)
    model = saved(folder, made or linear())
    return ("-m", str(model), "-d", str(data), "--out", str(folder / "r.h5"))


def verified(folder: Path, *more: str, made: Any = None) -> Ended:
    radii = [text for epsilon in RADII for text in ("--eps", str(epsilon))]
    return robcert("verify", *files(folder, made), *radii, *COMMON, *more)


@pytest.mark.parametrize("norm", list(Norm))
def test_the_command_prints_the_bracket(norm: Norm, tmp_path: Path) -> None:
    ended = verified(tmp_path, "--norm", str(norm))
    assert ended.status == 0, ended.stderr
    summary = json.loads(ended.stdout)["summary"]
    truth = distances(norm)
    truth[0] = 0
    for proven, bracket, epsilon in zip(
        summary["certified_accuracy"], summary["robust_accuracy"], RADII, strict=True
    ):
        share = (truth > epsilon).mean()
        assert proven["epsilon"] == bracket["epsilon"] == epsilon
        assert proven["n"] == COUNT
        assert proven["value"] == bracket["certified"] <= share <= bracket["attacked"]
        assert bracket["width"] == pytest.approx(bracket["attacked"] - bracket["certified"])
        assert bracket["certified"] == pytest.approx(share)  # the model is linear
    assert "without probability" in summary["guarantee"]
    assert summary["arithmetic"] == "float32"
    assert set(summary["seconds"]) == {"mean", "radius", "longest", "attack"}
    with ResultStore.read(tmp_path / "r.h5") as store:
        (group,) = store.existing("verify")
        radius = group.column("radius")
        assert (radius <= truth).all()
        np.testing.assert_allclose(radius[1:], truth[1:], rtol=0.02)
        page = render(store)
    assert "robust accuracy of the model itself" in page
    assert json.loads(ended.stdout)["violations"]["count"] == 0


def test_a_second_run_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = json.loads(verified(tmp_path).stdout)["summary"]
    append = "robcert.certify.store.group.AnalysisGroup.append"
    monkeypatch.setattr(append, lambda *_: pytest.fail("a finished row was computed again"))
    assert json.loads(verified(tmp_path).stdout)["summary"] == first


def test_a_gate_ends_with_1_where_too_little_is_certified(tmp_path: Path) -> None:
    passed = verified(tmp_path, "--fail-under", f"verified_accuracy@{RADII[1]}=0.1")
    failed = verified(tmp_path, "--fail-under", "verified_accuracy=100%")
    assert (passed.status, failed.status) == (0, 1)
    assert failed.stderr.startswith("failed: verified_accuracy >= 100% (point) is ")
    unknown = verified(tmp_path, "--fail-under", "certified_accuracy=0.5")
    assert unknown.status == 2
    assert "verified_accuracy (or @0.02, @0.005)" in unknown.stderr


@pytest.mark.parametrize(
    "options",
    [("--budget", "0s"), ("--budget", "soon"), ("--method", "guess"), ("--arithmetic", "int")],
)
def test_wrong_values_are_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    ended = verified(tmp_path, *options)
    assert ended.status == 2
    assert ended.stderr.startswith("error: ")
    assert options[0] in ended.stderr


@pytest.mark.parametrize("name", ["figure.svg", "new/figure.png"])
def test_a_figure_is_written(name: str, tmp_path: Path) -> None:
    ended = verified(tmp_path, "--plot", str(tmp_path / name))
    assert ended.status == 0, ended.stderr
    start = (tmp_path / name).read_bytes()[:200]
    assert start.startswith(b"\x89PNG") or b"<?xml" in start


def test_a_figure_of_no_image_is_not_drawn(tmp_path: Path) -> None:
    ended = verified(tmp_path, "--plot", str(tmp_path / "figure.svg"), "--time-budget", "0.0001s")
    assert ended.status == 0, ended.stderr
    assert not (tmp_path / "figure.svg").exists()


def test_a_figure_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    ended = verified(tmp_path, "--plot", str(tmp_path / "figure.txt"))
    assert ended.status == 2
    assert "no extension of a figure" in ended.stderr
    assert not (tmp_path / "r.h5").exists()


def random_model() -> Any:
    """The linear model with noise on its logits."""
    noise = helper.make_node("RandomNormalLike", ["logits"], ["noise"], scale=0.01)
    return linear(tail=[noise, node("Add", "logits noise", "out")])


def test_a_random_model_has_no_certificates(tmp_path: Path) -> None:
    ended = verified(tmp_path, made=random_model())
    assert ended.status == 2
    assert "different scores for the same image" in ended.stderr
    assert "robcert smoothing certify" in ended.stderr


def exaggerate(results: Path) -> None:
    """Multiply the stored radii by ten: certificates that are wrong."""
    with h5py.File(results, "r+") as file:
        for table in file["verify"].values():
            table["radius"][:] *= 10
        unseal(file)


def test_a_wrong_certificate_ends_every_command_with_an_error(tmp_path: Path) -> None:
    assert verified(tmp_path).status == 0
    results = tmp_path / "r.h5"
    exaggerate(results)
    said = []
    for arguments in (
        ("show", results),
        ("show", results, "--json"),
        ("report", results),
        ("compare", results, results, "--brief"),
        ("verify", *files(tmp_path), "--eps", "0.02", "--eps", "0.005", "-q"),
        ("attack", *files(tmp_path), "--eps", "0.03", "--suite", "quick", "-q"),
    ):
        ended = robcert(*arguments)
        assert ended.status == 2, arguments
        said.append(ended.stderr)
    for stderr in said:
        assert "fault of robcert" in stderr
        assert "hint: please report it" in stderr
        assert "/verify/linf-auto-" in stderr
    assert json.loads(robcert("show", results, "--json").stdout)["groups"]
    with pytest.raises(ContradictionError, match="certified to the linf radius"):
        verify(tmp_path / "model.onnx", tmp_path / "images.npz", out=results, eps=RADII, threads=1)


def test_the_python_api_gives_the_same_rows(tmp_path: Path) -> None:
    assert verified(tmp_path, "--budget", "2s").status == 0
    model, data = files(tmp_path)[1], files(tmp_path)[3]
    found = verify(model, data, out=tmp_path / "other.h5", eps=RADII, threads=1, profile="quick")
    rows = found.rows()
    with ResultStore.read(tmp_path / "r.h5") as store:
        (group,) = store.existing("verify")
        assert found.group == group.path
        np.testing.assert_array_equal(rows["radius"], group.column("radius"))
    assert found.summary.robust_accuracy[0].epsilon == RADII[0]
    with pytest.raises(InvalidParameterError, match="eps and settings exclude"):
        verify(model, data, VerificationSettings(epsilons=(0.1,)), eps=0.2)

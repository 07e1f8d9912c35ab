"""The refutation script finds a planted wrong number of each kind, and none in an honest file."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import refutation
import torch
from campaigns.results_changes import unseal
from onnx_models import model, node, saved
from refuting.attacked import attacked
from refuting.certified import certified
from refuting.check import Check, Count, added, by_kind, counted, equal, record, table
from refuting.estimated import estimated
from refuting.files import Files
from refuting.measured import measured
from refuting.numpy_model import NumpyModel, class_of
from refuting.searches import SEARCHES
from torch import nn

from robcert.certify import attacks, local_linearity, radius_bounds, smoothing
from robcert.certify.attacks import AttackSettings, Suite
from robcert.certify.auditing import SessionRequest, analyse_clean, open_session
from robcert.certify.core import Kind, silent
from robcert.certify.data import from_arrays
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.model import Classifier
from robcert.certify.model.preprocessing import Preprocessing
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.smoothing import SmoothingSettings
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from robcert.certify.data import ImageSet

N = 4
EPSILON = 0.1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results file of every analysis on a small network, and its model."""
    folder = tmp_path_factory.mktemp("refutation")
    source = np.random.default_rng(3)
    first, second = source.normal(size=(12, 8)), source.normal(size=(8, 3))
    path = saved(
        folder,
        model(
            [
                node("Flatten", "x", "flat"),
                node("MatMul", "flat v", "hidden"),
                node("Tanh", "hidden", "bent"),
                node("MatMul", "bent w", "logits"),
            ],
            inputs={"x": ("batch", 3, 2, 2)},
            outputs={"logits": None},
            weights={"v": first.astype(np.float32), "w": second.astype(np.float32)},
        ),
    )
    pixels = source.integers(0, 256, (60, 2, 2, 3)).astype(np.uint8)
    x = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    labels = NumpyModel(path, {}, None).scores(x).argmax(1)
    analyse(network(first, second), from_arrays("random", pixels, labels), folder)
    np.savez(folder / "x.npz", x=x[:N], y=labels[:N])
    np.savez(folder / "all.npz", pixels=pixels, labels=labels, first=first, second=second)
    return folder


def network(*weights: np.ndarray) -> Classifier:
    """The same network in torch, which loads faster than a file."""
    first, second = (nn.Linear(len(some), some.shape[1], bias=False) for some in weights)
    for layer, some in zip((first, second), weights, strict=True):
        layer.weight = nn.Parameter(torch.tensor(some.T, dtype=torch.float32))
    module = nn.Sequential(nn.Flatten(), first, nn.Tanh(), second)
    return Classifier.from_module(module, image_shape=(3, 2, 2), num_classes=3)


def analyse(model: Classifier, images: ImageSet, folder: Path) -> None:
    """Every analysis with little work, into ``folder / "r.h5"``."""
    request = SessionRequest(model=model, data=images, out=folder / "r.h5", limit=N)
    bounds = BoundsSettings(
        epsilon=EPSILON, blocks=30, block_size=2, points=2, steps=8, restarts=1, rho_steps=8
    )
    linear = replace(LinearitySettings.paper("quick"), epsilon=EPSILON, steps=5)
    attack = AttackSettings(attacks=("fmn",), suite=Suite.QUICK, save_images=True)
    noise = SmoothingSettings(sigma=0.25, n=500, radii=(0.05, 0.1))
    with open_session(request, progress=silent, on_warning=lambda _: None) as context:
        session = context.session
        analyse_clean(session)
        attacks.analyse(session, attack, epsilons=(EPSILON, 2 * EPSILON))
        local_linearity.analyse(session, linear)
        radius_bounds.analyse(session, bounds)
        smoothing.analyse(session, noise)


@pytest.fixture
def found(made: Path, tmp_path: Path) -> Callable[..., list[Check]]:
    """Checks of a copy of the file after a change, of all kinds or those given."""

    def checks(
        change: Callable[[h5py.File], None], *kinds: Callable[[Files], Iterator[Check]]
    ) -> list[Check]:
        path = tmp_path / "planted.h5"
        shutil.copy(made / "r.h5", path)
        with h5py.File(path, "r+") as file:
            change(file)
            unseal(file)
        with np.load(made / "x.npz") as arrays, ResultStore.read(path) as store:
            numpy_model = NumpyModel(made / "model.onnx", {}, None)
            files = Files(store, numpy_model, "logits", arrays["x"], arrays["y"], draws=400)
            some = kinds or (measured, attacked, certified, estimated)
            return [check for kind in some for check in kind(files)]

    return checks


def group(file: h5py.File, name: str) -> Any:
    """The only table of the schema ``name``."""
    return file["clean"] if name == "clean" else next(iter(file[name].values()))


def planted(
    table: str, column: str, value: float | Callable[[Any], Any], at: int | slice = 0
) -> Any:
    """A change of one row of a column."""

    def change(file: h5py.File) -> None:
        some = group(file, table)[column]
        rows = some[...]
        rows[at] = value(rows[at]) if callable(value) else value
        some[...] = rows

    return change


def refuted(checks: list[Check]) -> list[Check]:
    return [one for one in checks if one.refuted]


def test_an_honest_file_has_no_refuted_number(found: Callable[..., list[Check]]) -> None:
    checks = found(lambda _: None)
    assert {one.kind for one in checks} == set(Kind)
    assert not refuted(checks)


def too_linear(file: h5py.File) -> None:
    """γ and slopes of 0, and adversarial images that count as near."""
    for name in ("gamma", "gradient_dual_norm"):
        group(file, "linearity")[name][...] = 0.0
    group(file, "evidence")["distance"][...] = EPSILON / 2


def too_flat(file: h5py.File) -> None:
    """An L far below the slopes to the adversarial images."""
    attributes = group(file, "bounds").attrs
    fits = json.loads(attributes["fits"])
    fits[0].update(status="ok", point=1e-3, upper=2e-3, max=1e-3)
    attributes["fits"] = json.dumps(fits)


WRONG = {
    ("measured", "class"): planted("clean", "prediction", lambda c: (c + 1) % 3),
    ("measured", "cross entropy"): planted("clean", "cross_entropy", lambda c: c + 0.1, at=1),
    ("measured", "loss at the image"): planted("bounds", "loss", lambda c: c - 1, at=1),
    ("attacked", "distance"): planted("attack", "distance", lambda d: 0.9 * d),
    ("attacked", "class of an adversarial image"): planted(
        "attack", "prediction", lambda c: (c + 1) % 3, at=1
    ),
    ("attacked", "robust accuracy"): planted("attack", "distance", 0.001, at=2),
    ("attacked", "median distance"): lambda _: None,  # follows from the distances
    ("certified", "radius, drawn again at the image"): planted(
        "smoothing", "radius", 1.0, at=slice(None)
    ),
    ("certified", "radius, drawn again at its end"): lambda _: None,
    ("certified", "lower limit of a probability"): planted(
        "smoothing", "p_lower", 1.0, at=slice(None)
    ),
    ("estimated", "radius: gamma bound"): planted("bounds", "gamma_bound", 3.0),
    ("estimated", "radius: l bound, point"): planted("bounds", "l_bound_point", 3.0, at=1),
    ("estimated", "ε‖∇‖ + γ"): too_linear,
    ("estimated", "L, upper limit"): too_flat,
    ("measured", "largest seen of a fit"): lambda _: None,
}
"""Wrong numbers by what must be found, with the change of the file that plants them."""

MARKED = {"radius: gamma bound", "radius: l bound, point", "ε‖∇‖ + γ", "L, upper limit"}


def test_every_planted_number_is_found_and_marked_where_the_file_can_know(
    found: Callable[..., list[Check]],
) -> None:
    def change(file: h5py.File) -> None:
        for plant in WRONG.values():
            plant(file)

    wrong = refuted(found(change))
    assert sorted(WRONG.keys() - {(str(one.kind), one.quantity) for one in wrong}) == []
    unmarked = {one.quantity for one in wrong if not one.marked}
    assert not unmarked & MARKED


def test_an_image_that_is_not_adversarial_is_found(
    made: Path, found: Callable[..., list[Check]]
) -> None:
    with np.load(made / "x.npz") as arrays:
        clean_images = arrays["x"]

    def change(file: h5py.File) -> None:
        group(file, "attack")["adversarial"][...] = clean_images

    wrong = [one for one in refuted(found(change, attacked)) if one.quantity == "distance"]
    assert len(wrong) == N


@pytest.mark.filterwarnings("ignore::robcert.certify.RobcertWarning")
def test_longer_samples_are_those_of_the_examined_images(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "longer.h5"
    shutil.copy(made / "r.h5", path)
    with np.load(made / "all.npz") as arrays:
        images = from_arrays("random", arrays["pixels"], arrays["labels"])
        model = network(arrays["first"], arrays["second"])
    with ResultStore.read(path) as store:
        (radii,) = store.existing("bounds")
        search = SEARCHES["bounds"](radii.settings)
    search(model, images, {"out": path, "indices": range(N), "seed": 1})
    with ResultStore.read(made / "r.h5") as store, ResultStore.read(path) as longer:
        numpy_model = NumpyModel(made / "model.onnx", {}, None)
        with np.load(made / "x.npz") as arrays:
            files = Files(store, numpy_model, "logits", arrays["x"], arrays["y"], longer=longer)
        checks = list(estimated(files))
    own = [one.where for one in checks if one.quantity == "an image's own excess"]
    assert {int(where.split("image ")[1][0]) for where in own} == set(range(N))


def test_counts_and_their_table() -> None:
    checks = [
        equal(Kind.MEASURED, "share", "a", printed=0.5, found=0.5),
        equal(Kind.MEASURED, "share", "b", printed=0.5, found=0.6),
        Check(Kind.ESTIMATED, "radius", "c", 1.0, 0.5, refuted=True, marked=True),
        Check(Kind.ESTIMATED, "gamma", "d", 1.0, 2.0, refuted=False, short=True),
    ]
    assert counted(checks) == [
        Count("measured", "share", 2, 1, 0, 0),
        Count("estimated", "radius", 1, 1, 1, 0),
        Count("estimated", "gamma", 1, 0, 0, 1),
    ]
    twice = added([record(checks), record(checks)])
    assert by_kind(twice)[-1] in {
        Count("estimated", "all", 4, 2, 2, 2),
        Count("measured", "all", 4, 2, 0, 0),
    }
    assert "| estimated | radius | 2 | 2 (100.0%) | 2 |  |" in table(twice)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (("batch", 3, 2, 4), {"mean": [0.5, 0.4, 0.3], "std": [0.2], "channels": "BGR"}),
        (("batch", 2, 4, 3), {"layout": "NHWC", "range": [-1, 1]}),
        (("batch", 24), {"layout": "flat", "flatten": "column-major", "range": [0, 255]}),
        ((1, 24, 1), {"layout": "flat"}),
    ],
)
def test_preprocessing_in_numpy_is_that_of_the_importer(
    tmp_path: Path, shape: tuple[int | str, ...], said: dict[str, Any]
) -> None:
    made = model([node("Flatten", "x", "out")], inputs={"x": shape}, outputs={"out": None})
    x = np.random.default_rng(2).random((5, 3, 2, 4), dtype=np.float32)
    lists = {name: tuple(some) for name, some in said.items() if isinstance(some, list)}
    expected = Preprocessing(**{**said, **lists, "input_shape": shape[1:]})(torch.from_numpy(x))
    found = NumpyModel(saved(tmp_path, made), said, None)
    for together in (False, True):
        np.testing.assert_array_equal(
            found.scores(x, together=together), expected.flatten(1).double().numpy()
        )


def test_a_nan_and_a_tie_name_no_class() -> None:
    assert class_of(np.array([0.0, 2.0, 1.0])) == 1
    assert class_of(np.array([0.0, 2.0, 2.0])) == class_of(np.array([0.0, np.nan])) == -1


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["refutation.py", *map(str, arguments)])
        refutation.main()

    return run


@pytest.mark.slow
def test_two_bundled_models_and_a_second_run_that_does_nothing(
    tmp_path: Path, command: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    names = ["fashion-gaussian", "fashion-honest"]
    said = (tmp_path, "--models", *names, "--limit", 2, "--seconds", 600, "--draws", 500)
    command(*said)
    for name in names:
        found = json.loads((tmp_path / f"{name}.json").read_text())
        sums = {one.kind: one for one in by_kind(added([found]))}
        assert set(sums) == {"measured", "attacked", "certified", "estimated"}
        wrong = [one for one in found["refuted"] if one["kind"] != "estimated"]
        assert not wrong
    assert "fashion-gaussian: " in capfd.readouterr().out
    command(*said)
    assert "fashion-gaussian: " not in capfd.readouterr().out

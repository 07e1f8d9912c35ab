"""The Python API: the rows of the command line, its gates and its sentences."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from command_line import robcert
from places import FIXTURES
from torch import nn

import robcert.certify as door
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.errors import (
    DataError,
    InvalidParameterError,
    ModelFileError,
    PreprocessingError,
    RobcertError,
)

if TYPE_CHECKING:
    from pathlib import Path

MODEL = FIXTURES / "fashion-honest.onnx"
DATA = "fashion-mnist-2000"
QUICK: Any = {"limit": 3, "profile": "quick", "seed": 5, "threads": 1}
LINE = ("--limit", "3", "--profile", "quick", "--seed", "5", "--threads", "1", "--quiet")

pytestmark = pytest.mark.filterwarnings("ignore::robcert.certify.api.RobcertWarning")


def images(count: int = 40) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    with np.load(FIXTURES / f"{DATA}.npz") as content:
        return content["images"][:count], content["labels"][:count]


def linear(classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes)).eval()


def contents(path: Path) -> dict[str, Any]:
    """Every array of a results file by its place."""
    found = {}
    with h5py.File(path, locking=False) as file:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.shape != ():
                found[name] = item[()]

        file.visititems(visit)
    return found


def same(one: Path, other: Path) -> bool:
    a, b = contents(one), contents(other)
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a
    )


@pytest.mark.parametrize(
    ("function", "command"),
    [
        (door.attack, ("attack",)),
        (door.linearity, ("linearity",)),
        (door.smoothing_certify, ("smoothing", "certify")),
        (door.smoothing_predict, ("smoothing", "predict")),
        pytest.param(door.masking_check, ("masking-check",), marks=pytest.mark.slow),
    ],
)
def test_rows_are_those_of_the_command_line(
    function: Any, command: tuple[str, ...], tmp_path: Path
) -> None:
    result = function(MODEL, DATA, out=tmp_path / "api.h5", **QUICK)
    line = ("--model", str(MODEL), "--data", DATA, "--out", str(tmp_path / "cli.h5"))
    assert robcert(*command, *line, *LINE).status == 0
    assert same(tmp_path / "api.h5", tmp_path / "cli.h5")
    assert len(result.rows()["index"]) == 3
    assert contents(tmp_path / "api.h5")  # an empty comparison would say nothing


def test_an_audit_and_its_page(tmp_path: Path) -> None:
    options = {**QUICK, "out": tmp_path / "a.h5"}
    gates = ("clean_accuracy >= 0.01 (point)", "median_distance >= 200/255")
    result = door.audit(
        MODEL, DATA, only=("inspect", "attack", "smoothing"), gates=gates, **options
    )
    assert [one.passed for one in result.gates] == [True, False]
    assert door.read_audit(tmp_path / "a.h5").gates == result.gates
    assert result.verdict.headline == door.read_audit(tmp_path / "a.h5").verdict.headline
    assert result.attack.n == 3
    assert result.rows("attack")["distance"].shape == (3,)
    assert list(result.rows("attack").to_pandas().index) == [0, 1, 2]
    assert result.write_report(tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert result.facts["kind"] == "onnx"
    with pytest.raises(RobcertError, match="bounds is not available: excluded"):
        _ = result.bounds
    with pytest.raises(RobcertError, match=r"^gates 'violations == 0': this run"):
        door.audit(MODEL, DATA, only=("attack",), gates=("violations == 0",), **options)
    with pytest.raises(RobcertError, match="no part 'bound'"):
        result.rows("bound")


def test_a_module_in_memory_is_audited_on_arrays_in_memory(tmp_path: Path) -> None:
    module = linear()
    weights = {name: values.clone() for name, values in module.state_dict().items()}
    options = {**QUICK, "out": tmp_path / "m.h5", "allow_low_accuracy": True}
    result = door.attack(module, images(), AttackSettings(attacks=("pgd",)), **without(options))
    assert all(torch.equal(weights[name], now) for name, now in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())
    # closed form: a linear model's nearest boundary in linf
    matrix, bias = (p.detach().double() for p in module.parameters())
    x = torch.from_numpy(images(3)[0]).double().reshape(3, -1) / 255
    y = torch.from_numpy(images(3)[1]).long()
    logits = x @ matrix.T + bias
    gaps = logits.gather(1, y[:, None]) - logits
    lengths = (matrix[y][:, None] - matrix).abs().sum(2)
    exact = torch.where(lengths > 0, gaps / lengths, torch.inf).amin(1).clamp_min(0)
    found = torch.from_numpy(np.asarray(result.rows()["distance"], np.float64))
    assert (found >= exact * (1 - 1e-4)).all()  # the pixel box can only make it longer


def without(options: dict[str, Any]) -> Any:
    return {name: value for name, value in options.items() if name != "profile"}


def test_preprocessing_of_a_module_is_applied_and_told_apart(tmp_path: Path) -> None:
    module, data = linear(), door.load_images(images())
    plain = door.load_model(module, data)
    scaled = door.load_model(module, data, preprocess={"mean": [0.5], "std": [0.25]})
    x = data.pixels(np.arange(4))
    assert torch.allclose(scaled.logits(x), plain.logits((x - 0.5) / 0.25), atol=1e-5)
    assert plain.info.sha256 != scaled.info.sha256
    assert plain.info.sha256 == door.load_model(linear(), data).info.sha256
    assert plain.info.sha256 != door.load_model(linear(seed=1), data).info.sha256


def test_typical_mistakes_have_the_sentence_of_the_command_line(tmp_path: Path) -> None:
    pixels, labels = images()
    bright = pixels.astype(np.float32)
    np.savez(tmp_path / "bright.npz", images=bright, labels=labels)
    line = ("--model", str(MODEL), "--data", str(tmp_path / "bright.npz"))
    told = robcert("attack", *line, *LINE)
    with pytest.raises(DataError) as error:
        door.attack(MODEL, (bright, labels), **QUICK)
    assert str(error.value).replace("arrays", "bright") in told.stderr
    assert error.value.hint in told.stderr
    with pytest.raises(DataError, match="which has 5"):
        door.attack(linear(classes=5), images(), **QUICK)
    with pytest.raises(ModelFileError, match="training mode"):
        door.attack(linear().train(), images(), **QUICK)
    with pytest.raises(PreprocessingError, match="no better than chance"):
        door.attack(linear(), images(), **QUICK)
    with pytest.raises(InvalidParameterError, match="larger than the whole range"):
        door.attack(MODEL, DATA, eps=8, **QUICK)
    with pytest.raises(InvalidParameterError, match="larger than any l2 distance"):
        door.attack(MODEL, DATA, eps=100, norm="l2", **QUICK)
    with pytest.raises(InvalidParameterError, match="one eps"):
        door.linearity(MODEL, DATA, eps=(0.01, 0.02), **QUICK)
    with pytest.raises(InvalidParameterError, match="exclude one another"):
        door.attack(MODEL, DATA, AttackSettings(), norm="l2", limit=2)
    with pytest.raises(InvalidParameterError, match="no option 'limits'"):
        door.attack(MODEL, DATA, limits=3)  # type: ignore[call-arg]
    with pytest.raises(PreprocessingError, match="unknown key"):
        door.load_model(linear(), images(), preprocess={"means": [0.5]})
    with pytest.raises(ModelFileError, match="fails on an image"):
        door.load_model(nn.Linear(3, 2).eval(), images())
    with pytest.raises(ModelFileError, match=r"not scores of the shape"):
        door.load_model(nn.Identity().eval(), images())
    with pytest.raises(DataError, match="the size of its images is unknown"):
        door.load_model(linear())


@pytest.mark.parametrize(
    "options",
    [
        *({"eps": value} for value in ("8/255", [0.1, "2/255"], True, float("nan"))),
        *({"norm": value} for value in ("l3", 3)),
        *({"indices": value} for value in ([], "0,2-5", [1.5], [True])),
        *({name: "4"} for name in ("limit", "every", "threads", "batch_size", "seed")),
        *({"seed": value} for value in (1.5, 2**70)),
        *({"time_budget": value} for value in ("90s", float("nan"), -1)),
        *({"call_limit": value} for value in ("90s", float("inf"), 0, -1)),
        *({"memory_limit": value} for value in ("8G", 1e9, 0)),
        {"preprocess": 3},
    ],
    ids=str,
)
def test_a_value_of_the_wrong_kind_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=next(iter(options)) + "|is not a norm"):
        door.attack(linear(), images(), **options)


def test_a_model_or_images_of_the_wrong_kind_are_named() -> None:
    wrong: Any = len
    with pytest.raises(InvalidParameterError, match="a model is a path"):
        door.attack(wrong, images())
    pixels, labels = images()
    three: Any = (pixels, labels, labels)
    with pytest.raises(DataError, match="not 3 values"):
        door.attack(linear(), three)


def test_warnings_are_issued_and_kept(tmp_path: Path) -> None:
    with pytest.warns(door.RobcertWarning, match="has no labels"):
        result = door.attack(MODEL, images()[0], out=tmp_path / "u.h5", **QUICK)
    assert any("no labels" in line for line in result.warnings)


def test_the_names_at_the_door_are_functions_whatever_is_imported() -> None:
    """A submodule of the same name would hide a function."""
    for module in pkgutil.walk_packages(door.__path__, "robcert.certify."):
        if not module.name.endswith("runtime.trial"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name == "ray"  # noqa: PT017 - an extra, which may be absent
    for name in door.__all__:
        assert callable(getattr(door, name)) or name == "Options", name
    packages = {module.name for module in pkgutil.iter_modules(door.__path__)}
    assert not packages & set(door.__all__)
    assert set(door.__all__) <= set(dir(door))
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        door.__getattr__("audits")


def test_the_door_is_imported_in_no_time() -> None:
    program = (
        "import sys, robcert.certify; "
        "print(sorted({'torch', 'numpy', 'scipy', 'onnx', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

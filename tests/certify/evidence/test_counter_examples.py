"""The bundle of counter-examples, and the script that runs them without robcert."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
from attacked_files import attacked, write_inputs
from command_line import robcert
from onnx import TensorProto
from onnx_models import linear, model, node, saved, weights

from robcert.certify.evidence.counter_examples import SCRIPT, CounterExamples, _nearest
from robcert.certify.evidence.verify_counter_examples import classes_of, distances, model_input
from robcert.certify.model.preprocessing import Layout, Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

    from attacked_files import Attacked

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    return attacked(tmp_path_factory.mktemp("attacked"), "--save-images", wrong=1)


@pytest.fixture(scope="module")
def bundle(made: Attacked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evidence")
    options = ("--counter-examples", "--data", made.data)
    ended = robcert("evidence", made.results, "--out", out, *options)
    assert ended.status == 0, ended.stderr
    return out / "counter-examples"


def verified(bundle: Path, path: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "verify.py"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def images(bundle: Path) -> dict[str, Any]:
    with np.load(bundle / "images.npz") as stored:
        return {name: stored[name] for name in stored.files}


def test_a_vendor_sees_every_image_fail(made: Attacked, bundle: Path) -> None:
    ended = verified(bundle, made.model)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(": misclassified") == 5  # the sixth is wrong without any change
    assert "5 of 5 adversarial images are misclassified" in ended.stdout
    assert "5 of 5 unchanged images get the class stated" in ended.stdout
    assert "5 of 5 distances are at most those recorded" in ended.stdout
    assert ended.stderr == ""


def test_images_are_those_of_the_attack_with_their_distances(made: Attacked, bundle: Path) -> None:
    found = images(bundle)
    unchanged = made.pixels[found["index"]]
    np.testing.assert_array_equal(found["original"], unchanged)
    change = np.abs(found["adversarial"] - unchanged).reshape(len(unchanged), -1).max(1)
    np.testing.assert_allclose(change, found["distance"], rtol=1e-4)
    assert (change > 0).all()
    np.testing.assert_array_equal(found["label"], made.labels[found["index"]])


def test_another_model_that_resists_is_told(bundle: Path, tmp_path: Path) -> None:
    """A model that always answers the class of most images; it is right on these."""
    found = images(bundle)
    common = int(np.bincount(found["label"]).argmax())
    bias = np.zeros(5, np.float32)
    bias[common] = 1e6
    other = model(
        [node("Flatten", "x", "f"), node("MatMul", "f w", "m"), node("Add", "m b", "logits")],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"logits": None},
        weights={"w": weights(5, 48), "b": bias},
    )
    ended = verified(bundle, saved(tmp_path, other))
    assert ended.returncode == 1
    right = int((found["label"] == common).sum())
    assert ended.stdout.count(": CORRECT") == right > 0
    assert ended.stdout.startswith("note: ")  # not the audited file


def test_a_file_that_is_no_model_is_one_line(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    for path in (broken, tmp_path / "missing.onnx"):
        ended = verified(bundle, path)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: ")
        assert len(ended.stderr.splitlines()) == 1


def test_no_name_in_a_model_commands_the_terminal(bundle: Path, tmp_path: Path) -> None:
    """The runtime names a node that it cannot run, in the words of the file."""
    broken = linear(tail=[node("Relu", "missing", "out")])
    broken.graph.node[-1].name = "a\x1b]0;b\x07\u202ec"
    broken.graph.node[-1].input[0] = "missing\x1b[31m"
    ended = verified(bundle, saved(tmp_path, broken, "odd\x1b[1m.onnx"))
    assert ended.returncode == 2
    assert "missing?[31m" in ended.stderr
    for text in (ended.stdout, ended.stderr):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}


def test_the_script_imports_onnxruntime_numpy_and_the_standard_library_alone() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {
        alias.name.split(".")[0]
        for found in ast.walk(tree)
        if isinstance(found, ast.Import)
        for alias in found.names
    }
    modules = {
        n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module
    }
    assert (names | modules) - set(sys.stdlib_module_names) == {"onnxruntime", "numpy"}


LAYOUTS: tuple[Layout, ...] = ("NCHW", "NHWC", "flat")
FLATTENINGS: tuple[Literal["row-major", "column-major"], ...] = ("row-major", "column-major")
COLOURS: tuple[Literal["RGB", "BGR"], ...] = ("RGB", "BGR")
VALUES = (
    Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0)),
    Preprocessing(dtype="uint8", range=(0.0, 255.0)),
    Preprocessing(dtype="int8", range=(-128.0, 127.0), mean=(0.5,)),
    Preprocessing(dtype="float16", range=(-1.0, 1.0), std=(0.5,)),
)
PREPROCESSINGS = [
    replace(values, layout=layout, flatten=flatten, channels=channels)
    for values, layout, flatten, channels in product(VALUES, LAYOUTS, FLATTENINGS, COLOURS)
]


@pytest.mark.parametrize("prepare", PREPROCESSINGS, ids=str)
def test_the_script_prepares_pixels_as_robcert_does(prepare: Preprocessing) -> None:
    pixels = torch.rand(3, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    stated = {name: getattr(prepare, name) for name in Preprocessing.__slots__}
    found = model_input(pixels.numpy(), json.loads(json.dumps(stated)))
    expected = prepare(pixels).numpy().astype(prepare.dtype)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_the_input_shape_is_that_of_the_file() -> None:
    prepare = Preprocessing(layout="flat", input_shape=(2, 12))
    stated = {name: getattr(prepare, name) for name in Preprocessing.__slots__}
    assert model_input(np.zeros((3, 3, 2, 4)), stated).shape == (3, 2, 12)


def test_classes_of_one_and_of_several_scores() -> None:
    assert classes_of(np.array([[0.2], [0.9]])).tolist() == [0, 1]
    assert classes_of(np.array([[-0.2], [0.4]])).tolist() == [0, 1]  # a score, not a probability
    nan = float("nan")
    assert classes_of(np.array([[1.0, 2.0], [nan, 1.0]])).tolist() == [1, -1]
    assert classes_of(np.array([[[0.0, 3.0, 1.0]]])).tolist() == [1]


@pytest.mark.parametrize(("norm", "length"), [("linf", 4.0), ("l2", 5.0), ("l1", 7.0)])
def test_distances(norm: str, length: float) -> None:
    one = np.zeros((1, 1, 1, 2))
    assert distances(one, one + np.array([3.0, -4.0]), norm) == [length]


@pytest.mark.parametrize("shape", [(3, 3, 4, 4), (1, 3, 4, 4), (3, 4, 4)])
def test_models_with_a_fixed_batch_or_none_run_too(
    bundle: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    fixed = linear(shape)
    if len(shape) == 3:
        fixed = model(
            [node("Reshape", "x s", "flat"), node("MatMul", "flat w", "logits")],
            inputs={"x": shape},
            outputs={"logits": None},
            weights={"w": weights(5, 48), "s": np.array([1, 48])},
        )
    ended = verified(bundle, saved(tmp_path, fixed))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_an_input_that_the_scores_do_not_need_is_filled(bundle: Path, tmp_path: Path) -> None:
    more = linear()
    types = {"y": TensorProto.INT64}
    two = model(
        [*more.graph.node, node("Cast", "y", "z", to=TensorProto.FLOAT)],
        inputs={"x": ("batch", 3, 4, 4), "y": ("batch", 2)},
        outputs={"logits": None, "z": None},
        weights={"w": weights(5, 48)},
        types=types,
    )
    ended = verified(bundle, saved(tmp_path, two))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_nearest_of_each_class_are_kept_once() -> None:
    def table(index: list[int], label: list[int], distance: list[float]) -> CounterExamples:
        numbers = np.array(index), np.array(label), np.array(label) + 1, np.array(distance)
        pixels = np.array(distance, np.float32).reshape(-1, 1, 1, 1)
        return CounterExamples("linf", *numbers, pixels)

    one = table([0, 1, 2, 3], [7, 7, 7, 2], [0.3, 0.1, 0.2, 0.9])
    two = table([0, 3], [7, 2], [0.05, 1.0])
    found = _nearest([one, two], 2)
    assert found.index.tolist() == [3, 0, 1]
    assert found.distance.tolist() == [0.9, 0.05, 0.1]
    assert found.adversarial.ravel().tolist() == pytest.approx([0.9, 0.05, 0.1])


def test_per_class_limits_the_bundle(made: Attacked, tmp_path: Path) -> None:
    options = ("--counter-examples", "--per-class", "1", "--data", made.data)
    assert robcert("evidence", made.results, "--out", tmp_path, *options).status == 0
    labels = images(tmp_path / "counter-examples")["label"]
    assert len(set(labels.tolist())) == len(labels)


def test_without_the_data_set_the_bundle_has_no_unchanged_images(
    made: Attacked, tmp_path: Path
) -> None:
    assert robcert("evidence", made.results, "--out", tmp_path, "--counter-examples").status == 0
    folder = tmp_path / "counter-examples"
    assert "original" not in images(folder)
    ended = verified(folder, made.model)
    assert ended.returncode == 0
    assert "the unchanged images are not in the bundle" in ended.stdout


def test_another_data_set_is_refused(made: Attacked, tmp_path: Path) -> None:
    other = write_inputs(tmp_path, wrong=3)
    out = tmp_path / "evidence"
    options = ("--counter-examples", "--data", other.data)
    ended = robcert("evidence", made.results, "--out", out, *options)
    assert ended.status == 2
    assert "is not the data set" in ended.stderr
    assert not out.exists()


def test_a_file_without_images_says_how_to_keep_them(tmp_path: Path) -> None:
    made = attacked(tmp_path)
    ended = robcert("evidence", made.results, "--out", tmp_path / "e", "--counter-examples")
    assert ended.status == 2
    assert "keeps no adversarial images" in ended.stderr
    assert "--save-images" in ended.stderr


def test_a_hundred_images_take_less_than_ten_seconds(bundle: Path, tmp_path: Path) -> None:
    found = images(bundle)
    folder = tmp_path / "hundred"
    folder.mkdir()
    (folder / "verify.py").write_bytes(SCRIPT.read_bytes())
    (folder / "manifest.json").write_bytes((bundle / "manifest.json").read_bytes())
    many: dict[str, Any] = {
        name: np.resize(values, (100, *values.shape[1:])) for name, values in found.items()
    }
    np.savez(folder / "images.npz", **many)
    started = time.monotonic()
    ended = verified(folder, saved(tmp_path, linear()))
    assert ended.returncode == 0
    assert "100 of 100 adversarial images" in ended.stdout
    assert time.monotonic() - started < 10

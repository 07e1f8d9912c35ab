"""What people pass by mistake: exit status 2, one line (and perhaps a hint), nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Ended, robcert
from onnx import TensorProto, helper

from robcert.certify.auditing.open import bundled

MODEL = str(bundled("fashion-honest.onnx"))
GENERATOR = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, **arrays: object) -> str:
    np.savez(name, **arrays)  # type: ignore[arg-type]
    return name


def images(count: int = 30) -> np.ndarray:
    with np.load(bundled("fashion-mnist-2000.npz")) as content:
        return np.asarray(content["images"][:count])


def labels(count: int = 30) -> np.ndarray:
    with np.load(bundled("fashion-mnist-2000.npz")) as content:
        return np.asarray(content["labels"][:count])


def refused(ended: Ended, *words: str) -> None:
    lines = ended.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert ended.status == 2, ended
    assert len(errors) == 1, ended.stderr
    assert all(line.startswith(("error: ", "hint: ", "note: ")) for line in lines), ended.stderr
    assert "bug in robcert" not in ended.stderr
    assert ended.stdout == ""
    for word in words:
        assert word in ended.stderr, ended.stderr


def attack(*arguments: str) -> Ended:
    before = set(Path().rglob("*"))
    ended = robcert("attack", "--profile", "quick", *arguments)
    assert set(Path().rglob("*")) == before, "wrote something"
    return ended


def test_no_such_model() -> None:
    refused(attack("-m", "missing.onnx"), "missing.onnx")


@pytest.mark.parametrize("content", [b"", GENERATOR.bytes(3000)], ids=["empty", "random"])
def test_bytes_that_are_no_model(content: bytes) -> None:
    Path("model.onnx").write_bytes(content)
    refused(attack("-m", "model.onnx"), "model.onnx")


def test_a_truncated_model() -> None:
    Path("model.onnx").write_bytes(Path(MODEL).read_bytes()[:20_000])
    refused(attack("-m", "model.onnx"), "model.onnx")


def test_a_small_file_that_declares_gigabytes() -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [1 << 33])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Add", ["flat", "sum"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "huge",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [shape],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        "huge.onnx",
    )
    data = save("data.npz", images=GENERATOR.random((4, 1, 2, 2), np.float32))
    refused(attack("-m", "huge.onnx", "-d", data), "huge.onnx")


def test_images_of_another_shape() -> None:
    data = save("data.npz", images=np.full((4, 32, 32, 3), 200, np.uint8))
    refused(attack("-m", MODEL, "-d", data), "32", "28")


def test_images_with_nan() -> None:
    pixels = images().astype(np.float32) / 255
    pixels[3, 5, 5] = np.nan
    data = save("data.npz", images=pixels, labels=labels())
    refused(attack("-m", MODEL, "-d", data), "image 3 of data", "not finite")


def test_images_outside_the_range() -> None:
    data = save("data.npz", images=images().astype(np.float32), labels=labels())
    refused(attack("-m", MODEL, "-d", data), "image 0 of data", "outside [0, 1]")


def test_labels_out_of_range() -> None:
    data = save("data.npz", images=images(), labels=labels() + 10)
    refused(attack("-m", MODEL, "-d", data), "label 19 of image 0", "which has 10")


def test_labels_of_another_number() -> None:
    data = save("data.npz", images=images(), labels=labels(20))
    refused(attack("-m", MODEL, "-d", data), "30 images", "20 labels")


def test_no_image_is_classified_correctly() -> None:
    data = save("data.npz", images=images(), labels=(labels() + 1) % 10)
    refused(attack("-m", MODEL, "-d", data), "chance", "hint: ")


def test_no_images_at_all() -> None:
    data = save("data.npz", images=images(0), labels=labels(0))
    refused(attack("-m", MODEL, "-d", data), "no images")


def test_an_unknown_data_set() -> None:
    refused(attack("-m", MODEL, "-d", "fashion-mnits"), "hint: did you mean fashion-mnist")


def test_an_index_beyond_the_end() -> None:
    refused(attack("-m", MODEL, "--indices", "5,2000"), "2000")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--eps", "eight"),
        ("--eps", "0"),
        ("--eps", "8"),
        ("--eps", "300"),
        ("--limit", "0"),
        ("--batch-size", "none"),
        ("--time-budget", "soon"),
        ("--device", "tpu"),
        ("--attack", "tickle"),
        ("--fail-under", "accuracy=0.5"),
        ("--mean", "a,b"),
        ("--preprocess", "missing.json"),
    ],
)
def test_values_that_make_no_sense(option: str, value: str) -> None:
    refused(attack("-m", MODEL, option, value), value.partition("=")[0].partition(",")[0])


def test_a_distance_in_steps_of_255_is_asked_about() -> None:
    refused(attack("-m", MODEL, "--eps", "4"), "epsilon 4 is larger", "did you mean 4/255?")
    refused(attack("-m", MODEL, "--eps", "29", "--norm", "l2"), "l2 distance", "at most 28 here")


def test_a_choice_that_does_not_exist() -> None:
    ended = attack("-m", MODEL, "--norm", "l7")
    refused(ended, "Invalid value for '--norm': 'l7' is not a norm; it is one of l1, l2, linf")


def test_a_place_that_cannot_be_written() -> None:
    Path("file").write_text("not a folder")
    refused(attack("-m", MODEL, "--limit", "2", "--out", "file/results.h5"), "file")


def test_a_results_file_that_is_something_else() -> None:
    Path("results.h5").write_text("no HDF5")
    refused(attack("-m", MODEL, "--limit", "2", "--out", "results.h5"), "results.h5")
    assert Path("results.h5").read_text() == "no HDF5"
    refused(robcert("show", "results.h5"), "results.h5")
    refused(robcert("report", "results.h5"), "results.h5")


def test_a_results_file_of_another_model() -> None:
    quick = ("--profile", "quick", "--limit", "1", "--attack", "fgsm", "--out", "results.h5", "-q")
    assert robcert("attack", "-m", MODEL, *quick).status == 0
    before = Path("results.h5").read_bytes()
    other = robcert("attack", "-m", str(bundled("fashion-gaussian.onnx")), *quick)
    refused(other, "another model", "fashion-honest.onnx")
    assert Path("results.h5").read_bytes() == before


def test_a_results_file_that_is_not_there() -> None:
    refused(robcert("show", "missing.h5"), "missing.h5")
    refused(robcert("report", "missing.h5"), "missing.h5")


@pytest.mark.parametrize(
    "option",
    [
        "--indices",
        "--shard",
        "--time-budget",
        "--call-limit",
        "--memory-limit",
        "--mean",
        "--range",
    ],
)
def test_an_empty_text_is_not_an_option_that_is_left_out(option: str) -> None:
    """A job with an unset variable would test all images, or run without a limit."""
    ended = robcert("attack", "-m", MODEL, "--limit", "2", option, "", "-o", "r.h5")
    assert ended.status == 2
    assert ended.stderr.startswith("error: ")
    assert not Path("r.h5").exists()


@pytest.mark.parametrize("command", ["bounds", "surface", "taylor", "masking-check"])
def test_several_distances_where_one_is_taken(command: str) -> None:
    ended = robcert(command, "-m", MODEL, "--eps", "2/255", "--eps", "8/255")
    refused(ended, "this command takes one --eps, got 2", "hint: run it again")


@pytest.mark.parametrize("command", ["surface", "taylor"])
def test_a_picture_of_no_known_kind(command: str) -> None:
    ended = robcert(command, "-m", MODEL, "--picture", "folder/p.bmp", "-o", "r.h5")
    refused(ended, "folder/p.bmp has no extension of a figure: use .png, .pdf, .svg")
    assert not Path("r.h5").exists()


@pytest.mark.parametrize("command", ["surface", "taylor"])
def test_a_picture_where_none_can_be_is_seen_before_the_work(command: str) -> None:
    Path("file").touch()
    Path("p.png").mkdir()
    for place in ("file/p.png", "file/deeper/p.png", "p.png"):
        refused(robcert(command, "-m", MODEL, "--picture", place), f"can be written at {place}")
    assert {path.name for path in Path().iterdir()} == {"file", "p.png"}


def test_a_surface_of_too_many_points() -> None:
    ended = robcert("surface", "-m", MODEL, "--resolution", "1000000")
    refused(ended, "resolution must be at most 1001, got 1000000")


def test_a_fit_of_nothing_leaves_no_file() -> None:
    ended = robcert("bounds", "-m", MODEL, "--refit", "--limit", "2", "-o", "r.h5")
    refused(ended, "cannot repeat the fit", "hint: run once without refit")
    assert list(Path().iterdir()) == []
    ended = robcert("linearity", "-m", MODEL, "--limit", "1", "--steps", "1", "-o", "r.h5")
    assert ended.status == 0
    before = Path("r.h5").read_bytes()
    ended = robcert("bounds", "-m", MODEL, "--refit", "--limit", "2", "-o", "r.h5")
    refused(ended, "cannot repeat the fit")
    assert [path.name for path in Path().iterdir()] == ["r.h5"]
    assert Path("r.h5").read_bytes() == before


def test_a_further_model_that_is_missing_is_seen_before_the_first_is_measured() -> None:
    ended = robcert("linearity", "-m", MODEL, "--also", "missing.onnx", "-o", "r.h5")
    refused(ended, "missing.onnx does not exist")
    assert not Path("r.h5").exists()


def test_a_further_model_that_is_damaged_is_seen_before_the_first_is_measured() -> None:
    Path("damaged.onnx").write_bytes(b"not a model")
    ended = robcert("linearity", "-m", MODEL, "--also", "damaged.onnx", "-o", "r.h5")
    refused(ended, "damaged.onnx")
    assert not Path("r.h5").exists()


def test_an_index_below_the_first() -> None:
    ended = robcert("surface", "--index", "-1")
    assert ended.status == 2
    assert "'--index'" in ended.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--eps", ""),
        ("--eps", "1e99999999"),
        ("--eps", "1 2"),
        ("--mean", "0.1,"),
        ("--std", "nan"),
        ("--range", "0;1"),
        ("--memory-limit", "much"),
        ("--memory-limit", "999999999999999T"),
        ("--call-limit", "999999999999999h"),
        ("--time-budget", "999999999999999h"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_option(option: str, value: str) -> None:
    ended = attack("-m", MODEL, option, value)
    refused(ended)
    assert option[2:] in ended.stderr.replace("_", "-")


@pytest.mark.parametrize(
    "arguments",
    [
        ("smoothing", "certify", "-m", MODEL, "--radii", ""),
        ("corruption", "-m", MODEL, "--gaussian", "1,2"),
        ("corruption", "-m", MODEL, "--spatial", "30,"),
        ("train", "trades", "--epsilon", "1e99999999"),
    ],
    ids=lambda words: " ".join(words[-2:]),
)
def test_other_values_that_cannot_be_are_told_with_their_option(arguments: tuple[str, ...]) -> None:
    refused(robcert(*arguments), f"error: {arguments[-2]}: ")

from __future__ import annotations

import json
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import TYPE_CHECKING

import integer_models
import numpy as np
import pytest
import torch
from onnx import TensorProto
from onnx_models import images, linear, model, node, saved, weights

from robcert.certify.data.arrays import from_arrays
from robcert.certify.errors import (
    DataError,
    InvalidParameterError,
    ModelFileError,
    PreprocessingError,
    TwinUnavailableError,
)
from robcert.certify.importer import load
from robcert.certify.importer.load import LoadOptions, load_classifier, torch_device
from robcert.certify.model.classifier import Classifier
from robcert.certify.model.preprocessing import METADATA_KEY, PreprocessOptions
from robcert.certify.numerics.gradients import value_and_gradient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx import ModelProto

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def loaded(folder: Path, made: ModelProto, **options: object) -> Classifier:
    images = options.pop("images", None)
    how = LoadOptions(device="cpu", threads=1, **options)  # type: ignore[arg-type]
    return load_classifier(saved(folder, made), how, images=images)  # type: ignore[arg-type]


def pixels(n: int = 3, shape: tuple[int, int, int] = (3, 4, 4)) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def slope(classifier: Classifier, x: torch.Tensor, k: int = 0) -> torch.Tensor:
    return value_and_gradient(lambda at: classifier.twin_logits(at)[:, k], x)[1]


def test_a_linear_model_in_pixel_space_by_hand(tmp_path: Path) -> None:
    options = PreprocessOptions(mean=MEAN, std=STD)
    classifier = loaded(tmp_path, linear(), preprocess=options)
    x = pixels()
    w = torch.from_numpy(weights(5, 48))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    expected = ((x - mean) / std).flatten(1) @ w
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(classifier.twin_logits(x), expected, rtol=1e-5, atol=1e-4)
    by_hand = w[:, 0].view(1, 3, 4, 4) / std
    torch.testing.assert_close(slope(classifier, x), by_hand.expand(3, -1, -1, -1))
    parity = classifier.info.parity
    assert parity is not None
    assert parity.top1_agreement == 1.0
    assert parity.gradient_correlation is not None
    assert parity.gradient_correlation > 0.9999


def test_what_is_known_of_the_file(tmp_path: Path) -> None:
    info = loaded(tmp_path, linear((1, 3, 4, 4)), images=images()).info
    assert (info.kind, info.opset, info.producer) == ("onnx", 17, "test")
    assert (info.input_name, info.input_shape) == ("x", (1, 3, 4, 4))
    assert (info.output_name, info.output_shape, info.logits_from) == ("logits", (1, 5), "logits")
    assert info.runtime.endswith("CPU")
    assert any("freed in memory" in note and note.endswith("size: 1)") for note in info.notes)
    assert "assumed: pixel values range from 0 (black) to 1 (white)" in info.notes
    assert json.loads(info.preprocessing)["layout"] == "NCHW"


def test_nhwc_with_bgr_and_0_to_255(tmp_path: Path) -> None:
    made = linear(("n", 4, 4, 3))
    options = PreprocessOptions(range=(0.0, 255.0), channels="BGR")
    classifier = loaded(tmp_path, made, preprocess=options, images=images())
    x = pixels()
    expected = (255 * x.flip(1)).permute(0, 2, 3, 1).flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-4, atol=1e-2)
    assert classifier.image_shape == (3, 4, 4)


def test_metadata_is_used_and_options_override_it(tmp_path: Path) -> None:
    made = linear()
    made.metadata_props.add(key=METADATA_KEY, value=json.dumps({"mean": MEAN, "std": STD}))
    made.metadata_props.add(key="robcert.data", value="cifar10")
    classifier = loaded(tmp_path, made)
    assert classifier.preprocessing.mean == MEAN
    assert classifier.info.data_name == "cifar10"
    said = loaded(tmp_path, made, preprocess=PreprocessOptions(mean=(0.0,)))
    assert (said.preprocessing.mean, said.preprocessing.std) == ((0.0,), STD)


def test_a_softmax_is_cut_off_and_the_output_as_it_stands_is_kept(tmp_path: Path) -> None:
    classifier = loaded(tmp_path, linear(tail=[node("Softmax", "logits", "out")]))
    x = pixels()
    expected = x.flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-5, atol=1e-5)
    assert classifier.info.logits_from == "input of Softmax node 'out_node'"
    assert classifier.runtime.declared is not None
    assert classifier.twin is not None
    assert classifier.twin.declared is not None
    for declared in (classifier.runtime.declared, classifier.twin.declared):
        torch.testing.assert_close(declared(x), expected.softmax(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("factor", [100.0, 1.0])
def test_a_softmax_and_its_logarithm_are_cut_off_where_shares_underflow(
    factor: float, tmp_path: Path
) -> None:
    """The file's scores of ruled out classes are -inf then, whose gradient is NaN."""
    tail = [
        node("Constant", "", "factor", value_float=factor),
        node("Mul", "logits factor", "large"),
        node("Softmax", "large", "shares"),
        node("Identity", "shares", "same"),
        node("Log", "same", "out"),
    ]
    classifier = loaded(tmp_path, linear(tail=tail))
    x = pixels()
    assert classifier.runtime.declared is not None
    assert bool(classifier.runtime.declared(x).isinf().any()) == (factor > 1)
    assert classifier.info.logits_from == "input of LogSoftmax node 'shares_node'"
    assert classifier.logits(x).isfinite().all()
    assert slope(classifier, x).isfinite().all()


def test_a_softmax_over_another_axis_is_left_on(tmp_path: Path) -> None:
    tail = [
        node("Reshape", "logits shape", "parts"),
        node("Softmax", "parts", "probabilities", axis=-1),
        node("Flatten", "probabilities", "out"),
    ]
    made = linear(classes=6, tail=tail)
    made.graph.initializer.add(
        name="shape", data_type=TensorProto.INT64, dims=[3], int64_data=[-1, 2, 3]
    )
    classifier = loaded(tmp_path, made)
    assert classifier.info.logits_from == "logits"
    assert any("it is kept" in note for note in classifier.info.notes)
    assert classifier.runtime.declared is None


def test_probabilities_without_a_softmax_node_become_their_logarithm(tmp_path: Path) -> None:
    tail = [node("Softplus", "logits", "positive"), node("LpNormalization", "positive", "out", p=1)]
    classifier = loaded(tmp_path, linear(tail=tail))
    x = pixels()
    positive = torch.nn.functional.softplus(x.flatten(1) @ torch.from_numpy(weights(5, 48)))
    expected = (positive / positive.sum(1, keepdim=True)).log()
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-4, atol=1e-4)
    assert classifier.info.logits_from == "log of the probabilities"
    assert classifier.runtime.declared is not None


def test_integer_inputs_are_rounded_and_saturated(tmp_path: Path) -> None:
    made = model(
        [
            node("Cast", "x", "float", to=TensorProto.FLOAT),
            node("Flatten", "float", "flat"),
            node("MatMul", "flat w", "logits"),
        ],
        inputs={"x": ["n", 3, 4, 4]},
        outputs={"logits": None},
        weights={"w": weights(5, 48)},
        types={"x": TensorProto.UINT8},
    )
    classifier = loaded(tmp_path, made, images=images())
    assert classifier.preprocessing.range == (0, 255)
    x = pixels()
    expected = (255 * x).round().flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-4, atol=1e-2)
    unrounded = (255 * x).flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.twin_logits(x), unrounded, rtol=1e-4, atol=1e-2)
    assert any("pixels are rounded to 256 levels" in line for line in classifier.info.notes)
    corners = x.round()  # black and white pixels have an effect too
    expected = 255 * torch.from_numpy(weights(5, 48))[:, 0].view(1, 3, 4, 4).expand_as(x)
    torch.testing.assert_close(slope(classifier, corners), expected)


def test_the_slope_of_an_integer_input_is_that_between_its_levels(tmp_path: Path) -> None:
    """Else an honest model with a uint8 input would seem to have gradients that are no slopes."""
    made = integer_models.network(integer=True)
    pixels = from_arrays("photographs", integer_models.photographs(20), None)
    parity = loaded(tmp_path, made, images=pixels).info.parity
    assert parity is not None
    assert parity.gradient_correlation is not None
    assert parity.gradient_correlation > 0.95
    assert parity.max_relative_logit_error < 1e-5


def test_a_half_precision_model_keeps_its_twin(tmp_path: Path) -> None:
    made = model(
        [node("Flatten", "x", "flat"), node("MatMul", "flat w", "logits")],
        inputs={"x": ["n", 3, 4, 4]},
        outputs={"logits": None},
        weights={"w": weights(5, 48).astype(np.float16)},
        types={"x": TensorProto.FLOAT16, "logits": TensorProto.FLOAT16},
    )
    classifier = loaded(tmp_path, made, images=images())
    assert classifier.logits(pixels()).dtype == torch.float32
    assert classifier.twin is not None


@pytest.mark.parametrize(
    ("shape", "image"), [((3, 4, 4), (3, 4, 4)), ((1, 48, 1), (3, 4, 4)), ((16, 3), (1, 6, 8))]
)
def test_other_shapes_of_the_same_numbers(
    tmp_path: Path, shape: tuple[int, ...], image: tuple[int, int, int]
) -> None:
    # Without a batch axis, as a column, and as something that no image of that shape fits.
    made = model(
        [node("Reshape", "x shape", "flat"), node("MatMul", "flat w", "logits")],
        inputs={"x": shape},
        outputs={"logits": None},
        weights={"w": weights(5, 48), "shape": np.array([1, 48], np.int64)},
    )
    if image == (1, 6, 8):
        with pytest.raises(DataError, match=r"do not fit|not an image"):
            loaded(tmp_path, made, images=images(shape=image))
        return
    classifier = loaded(tmp_path, made, images=images(shape=image))
    x = pixels(5, image)
    expected = x.flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classifier.twin_logits(x), expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_cannot_be_batched_runs_image_by_image(tmp_path: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("ReduceMean", "flat", "mean", axes=[0], keepdims=1),
            node("Add", "flat mean", "sum"),
            node("MatMul", "sum w", "logits"),
        ],
        inputs={"x": [1, 3, 4, 4]},
        outputs={"logits": [1, 5]},
        weights={"w": weights(5, 48)},
    )
    classifier = loaded(tmp_path, made, images=images())
    x = pixels(5)
    expected = 2 * x.flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classifier.twin_logits(x), expected, rtol=1e-4, atol=1e-4)


def test_an_unneeded_second_input_is_left_out(tmp_path: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat w", "logits"),
            node("Sub", "logits labels", "out"),
        ],
        inputs={"x": ["n", 3, 4, 4], "labels": ["n", 5]},
        outputs={"out": None},
        weights={"w": weights(5, 48)},
    )
    with pytest.raises(ModelFileError, match=r"depends on 2: x .*, labels \[n, 5\]"):
        loaded(tmp_path, made)
    classifier = loaded(tmp_path, made, output="logits")
    assert any("not used" in note and "labels" in note for note in classifier.info.notes)


def test_a_model_without_a_twin_says_which_node_stopped_it(tmp_path: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node(
                "LinearRegressor",
                "flat",
                "logits",
                domain="ai.onnx.ml",
                coefficients=weights(5, 48).T.ravel().tolist(),
                targets=5,
            ),
        ],
        inputs={"x": ["n", 3, 4, 4]},
        outputs={"logits": None},
    )
    made.opset_import.add(domain="ai.onnx.ml", version=1)
    classifier = loaded(tmp_path, made)
    assert not classifier.differentiable
    assert "LinearRegressor" in classifier.info.twin_unavailable
    with pytest.raises(TwinUnavailableError, match="LinearRegressor"):
        classifier.twin_logits(pixels())
    expected = pixels().flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.logits(pixels()), expected, rtol=1e-3, atol=1e-4)


def test_an_axis_declared_as_zero_is_free(tmp_path: Path) -> None:
    classifier = loaded(tmp_path, linear((0, 3, 4, 4)))
    assert classifier.logits(pixels(3)).shape == (3, 5)


def test_random_scores_keep_the_twin_and_are_told(tmp_path: Path) -> None:
    tail = [node("RandomNormalLike", "logits", "noise"), node("Add", "logits noise", "out")]
    classifier = loaded(tmp_path, linear(tail=tail))
    assert classifier.info.random
    assert classifier.twin is not None


def test_scores_that_are_no_numbers_keep_the_twin(tmp_path: Path) -> None:
    # Square roots of negative logits: a finding for the masking check, not an error.
    classifier = loaded(tmp_path, linear(tail=[node("Sqrt", "logits", "out")]))
    assert classifier.differentiable, classifier.info.twin_unavailable
    assert not classifier.info.random
    assert classifier.logits(pixels()).isnan().any()


def test_an_input_without_a_shape_takes_the_images(tmp_path: Path) -> None:
    made = linear()
    made.graph.input[0].type.tensor_type.ClearField("shape")
    classifier = loaded(tmp_path, made, images=images())
    assert classifier.logits(pixels(3)).shape == (3, 5)
    assert classifier.twin is not None
    assert classifier.twin.fixed_batch is None


def test_images_and_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1x4x4"):
        loaded(tmp_path, linear(), images=images(shape=(1, 4, 4)))
    labels = np.arange(12) % 7
    with pytest.raises(DataError, match="not a class of the model, which has 5 classes"):
        loaded(tmp_path, linear(), images=images(labels=labels))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (PreprocessOptions(mean=(0.1, 0.2)), "mean has 2 numbers, but the images have 3 channels"),
        (
            PreprocessOptions(dtype="uint8"),
            "the preprocessing states dtype uint8, but input 'x' is float32",
        ),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, options: PreprocessOptions, reason: str) -> None:
    with pytest.raises(PreprocessingError, match=reason):
        loaded(tmp_path, linear(), preprocess=options, images=images())


def entry_points_of(*loaders: Callable[[Path, torch.device], Classifier]) -> object:
    """A stand-in for `importlib.metadata.entry_points`."""

    def entry_points(*, group: str, name: str) -> list[object]:
        assert (group, name) == ("robcert.model_loaders", "safetensors")
        return [SimpleNamespace(load=iter(loaders).__next__) for _ in loaders]

    return entry_points


def test_folders_and_checkpoints_go_to_the_registered_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    known = Classifier.from_module(network, image_shape=(3, 4, 4), num_classes=5)
    monkeypatch.setattr(load, "entry_points", entry_points_of(lambda _path, _device: known))
    assert load_classifier(tmp_path) is known
    assert load_classifier(tmp_path / "some.safetensors") is known
    options = LoadOptions(preprocess=PreprocessOptions(mean=(0.5,)))
    with pytest.raises(PreprocessingError, match="contains its own preprocessing"):
        load_classifier(tmp_path, options)
    with pytest.raises(DataError):
        load_classifier(tmp_path, images=images(shape=(1, 4, 4)))
    monkeypatch.setattr(load, "entry_points", entry_points_of())
    with pytest.raises(ModelFileError, match="no loader for checkpoints is installed"):
        load_classifier(tmp_path)


def test_the_loader_of_checkpoints_is_registered() -> None:
    (entry,) = entry_points(group="robcert.model_loaders", name="safetensors")
    assert entry.value == "robcert.trainers.loop.checkpoint:load_checkpoint"


def test_devices() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    with pytest.raises(InvalidParameterError, match="auto, cpu, cuda or cuda:N"):
        torch_device("gpu")
    with pytest.raises(InvalidParameterError, match="not available"):
        torch_device("cuda:99")


def test_forward_only_gives_torch_its_threads_back(tmp_path: Path) -> None:
    classifier = loaded(tmp_path, linear())
    before = torch.get_num_threads()
    with classifier.forward_only():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before

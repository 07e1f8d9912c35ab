"""Files that leave open which output holds the class scores, or what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_models import images, linear, model, node, saved, weights

from robcert.certify.errors import AmbiguousOutputError, ModelFileError
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.importer.runtime.trial import PREPROCESS_KEY
from robcert.certify.model import PreprocessOptions
from robcert.certify.model.preprocessing import METADATA_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto, NodeProto

SHAPE = (3, 4, 4)


@pytest.mark.parametrize(
    "tail",
    [
        [node("TopK", "logits k", "out places")],
        [node("Softmax", "logits", "p"), node("TopK", "p k", "out places")],
        [node("TopK", "logits k", "high places"), node("Softmax", "high", "out")],
        [node("TopK", "logits k", "high places"), node("Mul", "high half", "out")],
        [node("TopK", "logits k", "high places"), node("Div", "half high", "out")],
        [
            node("Neg", "logits", "p"),
            node("TopK", "p k", "low places", largest=0),
            node("Neg", "low", "out"),
        ],
        [
            node("TopK", "logits k", "high places"),
            node("Constant", "", "two", value_float=2.0),
            node("Clip", "high", "kept"),
            node("Sub", "kept two", "out"),
        ],
    ],
)
def test_sorted_scores_are_refused_and_what_is_sorted_is_named(
    tmp_path: Path, tail: list[NodeProto]
) -> None:
    made = model(
        [node("Flatten", "x", "flat"), node("MatMul", "flat w", "logits"), *tail],
        inputs={"x": ("n", *SHAPE)},
        outputs={"out": None},
        weights={
            "w": weights(5, 48),
            "k": np.array([3], np.int64),
            "half": np.array(0.5, np.float32),
        },
    )
    made.graph.output.append(helper.make_tensor_value_info("places", TensorProto.INT64, None))
    with pytest.raises(ModelFileError, match="holds sorted scores") as caught:
        load_classifier(saved(tmp_path, made), images=images())
    source = caught.value.hint.rsplit(maxsplit=1)[1]
    assert source in {"logits", "p"}
    load_classifier(saved(tmp_path, made), LoadOptions(output=source), images=images())


def test_what_is_computed_from_other_scores_is_never_preferred(tmp_path: Path) -> None:
    made = linear(tail=[node("Mul", "logits logits", "out")])
    made.graph.output.append(helper.make_empty_tensor_value_info("logits"))
    path = saved(tmp_path, made)
    with pytest.raises(AmbiguousOutputError, match="out, logits"):
        load_classifier(path, images=images())
    chosen = load_classifier(path, LoadOptions(output="logits"), images=images())
    assert chosen.info.output_name == "logits"


@pytest.mark.parametrize(("batch", "axes"), [("n", [1]), (1, [0, 1])])
@pytest.mark.parametrize("squash", [True, False])
def test_one_score_an_image_is_a_binary_classifier(
    tmp_path: Path, batch: int | str, axes: list[int], *, squash: bool
) -> None:
    last = [node("Sigmoid", "score", "p")] if squash else [node("Identity", "score", "p")]
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat w", "score"),
            *last,
            node("Squeeze", "p axes", "out"),
        ],
        inputs={"x": (batch, *SHAPE)},
        outputs={"out": None},
        weights={"w": weights(1, 48), "axes": np.array(axes, np.int64)},
    )
    labels = np.arange(12) % 2
    found = load_classifier(saved(tmp_path, made), images=images(labels=labels))
    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    expected = x.flatten(1) @ torch.from_numpy(weights(1, 48))
    assert (found.num_classes, found.info.twin_unavailable) == (2, "")
    logits = torch.cat([torch.zeros_like(expected), expected], 1)
    torch.testing.assert_close(found.logits(x), logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.twin_logits(x), logits, atol=1e-4, rtol=1e-4)


ONE = node("Constant", "", "one", value_float=1.0)
WRITTEN_OUT = [
    *(ONE, node("Neg", "logits", "turned"), node("Exp", "turned", "powers")),
    node("Add", "one powers", "below"),
]


@pytest.mark.parametrize(
    "tail",
    [
        [node("Sigmoid", "logits", "out")],
        [node("Sigmoid", "logits", "p"), node("Clip", "p", "out")],
        [ONE, node("Sigmoid", "logits", "p"), node("Mul", "one p", "out")],
        [*WRITTEN_OUT, node("Div", "one below", "out")],
        [*WRITTEN_OUT, node("Reciprocal", "below", "p"), node("Identity", "p", "out")],
    ],
)
def test_a_sigmoid_over_several_classes_is_asked_about(
    tmp_path: Path, tail: list[NodeProto]
) -> None:
    path = saved(tmp_path, linear(tail=tail))
    with pytest.raises(ModelFileError, match="a sigmoid over 5 classes") as caught:
        load_classifier(path, images=images())
    assert caught.value.hint.endswith("pass --task multiclass")
    found = load_classifier(path, LoadOptions(multiclass=True), images=images())
    assert found.num_classes == 5


@pytest.mark.parametrize(
    "tail",
    [
        [node("Sigmoid", "logits", "p"), node("Softmax", "p", "out")],
        [node("Sigmoid", "logits", "p"), node("Mul", "p logits", "out")],
        [node("TopK", "logits k", "high places"), node("Cast", "places", "out", to=1)],
    ],
)
def test_what_is_no_sigmoid_of_each_score_and_no_sorted_score_is_taken(
    tmp_path: Path, tail: list[NodeProto]
) -> None:
    made = linear(tail=tail)
    made.graph.initializer.append(numpy_helper.from_array(np.array([5], np.int64), "k"))
    assert load_classifier(saved(tmp_path, made), images=images()).num_classes == 5


def test_a_sequence_output_names_the_tensor_to_pass(tmp_path: Path) -> None:
    made = linear(tail=[node("SequenceConstruct", "logits", "out")])
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_sequence_value_info("out", TensorProto.FLOAT, None))
    with pytest.raises(ModelFileError, match="not an image classifier") as caught:
        load_classifier(saved(tmp_path, made), images=images())
    assert caught.value.hint.endswith("candidates: logits")


def channels_last() -> ModelProto:
    """Scores of images in NHWC, of which the file says only that the input has four axes."""
    return model(
        [
            node("Transpose", "x", "chw", perm=[0, 3, 1, 2]),
            node("Conv", "chw kernel", "maps"),
            node("Flatten", "maps", "logits"),
        ],
        inputs={"x": ("a", "b", "c", "d")},
        outputs={"logits": None},
        weights={"kernel": weights(5, 48).T.reshape(5, 3, 4, 4).copy()},
    )


def test_a_stated_layout_is_heeded_where_all_axes_are_free(tmp_path: Path) -> None:
    options = LoadOptions(PreprocessOptions(layout="NHWC"))
    found = load_classifier(saved(tmp_path, channels_last()), options, images=images())
    assert (found.image_shape, found.preprocessing.layout) == (SHAPE, "NHWC")


def test_a_layout_in_the_metadata_is_heeded_where_all_axes_are_free(tmp_path: Path) -> None:
    assert PREPROCESS_KEY == METADATA_KEY
    made = channels_last()
    helper.set_model_props(made, {METADATA_KEY: '{"layout": "NHWC"}'})
    found = load_classifier(saved(tmp_path, made), images=images())
    assert found.preprocessing.layout == "NHWC"


def test_a_layout_that_was_guessed_is_named_where_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot run it on one image") as caught:
        load_classifier(saved(tmp_path, channels_last()), images=images())
    assert caught.value.hint.endswith("pass --layout NHWC")
    wrong = LoadOptions(PreprocessOptions(layout="NCHW"))
    with pytest.raises(ModelFileError, match="cannot run it on one image") as caught:
        load_classifier(saved(tmp_path, channels_last()), wrong, images=images())
    assert caught.value.hint == ""

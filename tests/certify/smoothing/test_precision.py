from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from command_line import robcert
from half_space import SHAPE, HalfSpace
from places import FIXTURES
from summaries import blank, findings

from robcert.certify.auditing.verdict import cards
from robcert.certify.data.load import load_images
from robcert.certify.errors import InvalidParameterError, ModelFileError, StoreError
from robcert.certify.importer.load import load_classifier
from robcert.certify.model.classifier import Classifier
from robcert.certify.smoothing.precision import Precision, computed_in, require_same_function
from robcert.certify.smoothing.schema import SMOOTHING
from robcert.certify.smoothing.settings import SmoothingSettings, guarantee
from robcert.certify.smoothing.summary import CertifiedAccuracy, SmoothingSummary
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data.image_set import ImageSet

GAUSSIAN = FIXTURES / "fashion-gaussian.onnx"
HOW: Any = {"sigma": 0.25, "seed": 0}
FEW = ("--model", str(GAUSSIAN), "--limit", "3", "--n", "500", "--quiet")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_images("fashion-mnist-2000")


@pytest.fixture(scope="module")
def original(images: ImageSet) -> Classifier:
    return load_classifier(GAUSSIAN, images=images)


@pytest.mark.parametrize("precision", [Precision.BFLOAT16, Precision.INT8])
def test_scores_are_close_and_do_not_depend_on_the_company_in_a_batch(
    original: Classifier, images: ImageSet, precision: Precision
) -> None:
    """Else the votes of one draw would depend on other draws: no binomial, no certificate."""
    other = computed_in(original, precision, images, **HOW)
    x = images.pixels(np.arange(100))
    x = x + 0.25 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    scores, expected = other.logits(x), original.logits(x)
    assert not torch.equal(scores, expected)
    assert float((scores.argmax(1) == expected.argmax(1)).float().mean()) >= 0.95
    for rows in (slice(0, 1), slice(3, 40), slice(40, 99)):
        assert torch.equal(other.logits(x[rows]), scores[rows])
    assert torch.equal(other.logits(x.flip(0)).flip(0), scores)
    assert torch.equal(computed_in(original, precision, images, **HOW).logits(x), scores)
    assert other.runtime.precision == precision
    assert not other.differentiable
    assert computed_in(other, precision, images, **HOW) is other


def test_float32_is_the_model_as_it_is(original: Classifier, images: ImageSet) -> None:
    assert computed_in(original, Precision.FLOAT32, images, **HOW) is original


def test_the_sentence_says_of_which_function_it_speaks() -> None:
    plain = guarantee(SmoothingSettings())
    assert "computed in" not in plain
    assert plain.endswith("not for the model itself.")
    for precision in (Precision.BFLOAT16, Precision.INT8):
        text = guarantee(SmoothingSettings(precision=precision))
        assert f"computed in {precision}, which is a different function" in text
        assert text.endswith("nor for the model in float32.")


def test_the_verdict_says_it_too() -> None:
    entry = blank(CertifiedAccuracy, radius=0.25, value=0.5)
    for precision, words in (("float32", "when smoothed"), ("int8", "when smoothed in int8")):
        summary = blank(SmoothingSummary, certified_accuracy=(entry,), precision=precision)
        (card,) = cards(findings(smoothing=summary))
        assert card.text.endswith(words)


def test_what_cannot_be_had_is_refused(original: Classifier, images: ImageSet) -> None:
    module = Classifier.from_module(HalfSpace(), image_shape=SHAPE, num_classes=2)
    with pytest.raises(InvalidParameterError, match="int8 needs an ONNX file"):
        computed_in(module, Precision.INT8, images, **HOW)
    blind = replace(original, twin=None)
    with pytest.raises(InvalidParameterError, match="bfloat16 needs a PyTorch twin"):
        computed_in(blind, Precision.BFLOAT16, images, **HOW)
    small = computed_in(original, Precision.INT8, images, **HOW)
    with pytest.raises(InvalidParameterError, match="already in int8"):
        computed_in(small, Precision.BFLOAT16, images, **HOW)


def test_a_model_that_rounds_by_itself_is_not_quantised_again(zoo: Path) -> None:
    classifier = load_classifier(zoo / "models" / "mlperf_resnet8_qdq.onnx")
    assert classifier.runtime.quantised is not None
    with pytest.raises(ModelFileError, match="quantised already"):
        classifier.runtime.quantised(torch.rand(2, *classifier.image_shape))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resnet_2b",
        "sri_resnet_a",
        "mnist-net_256x2",
        "mnist_tf2onnx_fisakhan",
        "tinymobilenet_cifar10",
        "mlperf_resnet8_keras_op18",
    ],
)
def test_third_party_models_in_int8(zoo: Path, name: str) -> None:
    """Fixed batches, old opsets, NHWC and flat inputs."""
    classifier = load_classifier(zoo / "models" / f"{name}.onnx")
    x = torch.rand(40, *classifier.image_shape, generator=torch.Generator().manual_seed(0))
    assert classifier.runtime.quantised is not None
    logits = classifier.runtime.quantised(x)
    same = logits(x).argmax(1) == classifier.logits(x).argmax(1)
    # noise images lie between classes, and int8 sums saturate on processors without VNNI
    assert float(same.float().mean()) >= 0.6
    assert torch.equal(logits(x[3:4]), logits(x)[3:4])


@pytest.mark.slow
def test_what_the_quantiser_cannot_do_is_one_line(zoo: Path) -> None:
    """Opset 8, whose upgrade fails."""
    classifier = load_classifier(zoo / "models" / "mnist_cntk.onnx")
    assert classifier.runtime.quantised is not None
    with pytest.raises(ModelFileError, match=r"^int8: the quantiser fails on this model: [^\n]+$"):
        classifier.runtime.quantised(torch.rand(2, *classifier.image_shape))


def test_another_function_under_the_same_name_is_noticed(
    original: Classifier, images: ImageSet, tmp_path: Path
) -> None:
    """A resumed run must not mix the votes of two functions."""
    small = computed_in(original, Precision.INT8, images, **HOW)
    with ResultStore.open(tmp_path / "r.h5", model=original.info, data=images.info) as store:
        settings = SmoothingSettings(precision=Precision.INT8)
        group = store.group(
            SMOOTHING, prefix="s", settings=settings, seed=0, sizes={"class": 10, "look": 2}
        )
        require_same_function(group, small, images, **HOW)
        require_same_function(group, small, images, **HOW)
        runtime = replace(small.runtime, logits=lambda x: small.logits(x) + 1e-3)
        moved = replace(small, runtime=runtime)
        with pytest.raises(StoreError, match="gave other scores"):
            require_same_function(group, moved, images, **HOW)


def test_certificates_of_other_numbers_stand_apart(tmp_path: Path) -> None:
    out = tmp_path / "r.h5"
    plain = robcert("smoothing", "certify", *FEW, "--out", out)
    small = robcert("smoothing", "certify", *FEW, "--out", out, "--precision", "int8")
    assert (plain.status, small.status) == (0, 0)
    assert "in int8" not in plain.stdout
    assert "the smoothed classifier in int8" in small.stdout
    assert "computed in int8" in " ".join(small.stdout.split())
    with ResultStore.read(out) as store:
        keys = [group.path for group in store.existing("smoothing")]
    assert len(keys) == 2
    assert sum("-int8-" in key for key in keys) == 1


def test_precisions_that_do_not_exist_are_one_line(tmp_path: Path) -> None:
    ended = robcert("smoothing", "certify", *FEW, "--precision", "int4", "--out", tmp_path / "r.h5")
    assert ended.status == 2
    assert "int4" in ended.stderr
    assert not (tmp_path / "r.h5").exists()

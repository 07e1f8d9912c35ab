"""Proofs from the prover through the file to the checker, and what becomes of changed ones."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import onnx
import onnx_models as om
import pytest
import torch
from checked_nets import preprocessing
from integer_models import network as whole_numbers
from integer_models import photographs
from proved_nets import SHAPE, Proved, image, network, proved, sealed

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import OutputError, UnsupportedOperatorError
from robcert.certify.importer import load_classifier
from robcert.certify.proof_check import (
    ProofFileError,
    UncheckableModelError,
    check,
    read_network,
)
from robcert.certify.verification.outcome import Arithmetic, Method, Open
from robcert.certify.verification.proofs import Claim, ProofWriter, require_provable
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE = "statements/000000"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Proved:
    return proved(tmp_path_factory.mktemp("proof"), seed=1)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_a_proof_by_branch_and_bound_is_proved_again(
    tmp_path: Path, norm: Norm, arithmetic: Arithmetic
) -> None:
    one = proved(tmp_path, norm=norm, arithmetic=arithmetic, seed=1)
    assert one.decision.method is Method.BRANCH
    report = check(one.proof, one.model)
    (verdict,) = report.verdicts
    assert report.proved
    assert verdict.proved
    assert verdict.bound > 0
    assert verdict.margin > verdict.bound
    assert verdict.short == 0
    assert (verdict.index, verdict.label) == (one.claim.index, one.claim.label)
    assert (verdict.norm, verdict.radius) == (norm, one.claim.ball.epsilon)
    assert ("float32" in report.claim) == (arithmetic is Arithmetic.FLOAT32)


def test_bounds_are_those_of_the_prover(tmp_path: Path) -> None:
    model = network(tmp_path, seed=2)
    classifier = load_classifier(model)
    prover = Prover.of(classifier, Arithmetic.REAL)
    x = image()
    y = int(classifier.logits(x[None]).argmax())
    claim = Claim(0, x, y, Ball(Norm.LINF, 0.05))
    decision = prover.decide(x, y, claim.ball, method=Method.CROWN, keep_proof=True)
    assert decision.proof is not None
    with ProofWriter(tmp_path / "p.h5", prover, classifier) as writer:
        writer.add(claim, decision.proof)
    (verdict,) = check(tmp_path / "p.h5", model).verdicts
    assert verdict.bound == pytest.approx(decision.bound, rel=1e-6)


def test_every_changed_byte_is_refused(example: Proved, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    data = example.proof.read_bytes()
    draws = np.random.default_rng(0)
    for place in [0, 16, 30, 511, 512, len(data) - 1, *draws.integers(0, len(data), 150)]:
        changed = bytearray(data)
        changed[place] ^= 1 << int(draws.integers(8))
        copy.write_bytes(changed)
        with pytest.raises(ProofFileError):
            check(copy, example.model)
    for other in (data[:-1], data + b"\0", data[:100], b""):
        copy.write_bytes(other)
        with pytest.raises(ProofFileError):
            check(copy, example.model)


def altered(example: Proved, folder: Path, change: Callable[[h5py.File], Any]) -> Path:
    """A copy that was changed, with the right hash."""
    copy = folder / "altered.h5"
    shutil.copy(example.proof, copy)
    with h5py.File(copy, "r+") as file:
        change(file)
    sealed(copy)
    return copy


def replaced(file: h5py.File, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


def _set(name: str, to: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    """Replace a data set of the statement by a function of it."""

    def change(file: h5py.File) -> None:
        path = f"{ONE}/{name}"
        replaced(file, path, to(file[path][()]))

    return change


def _attribute(name: str, value: object, *, top: bool = False) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        (file if top else file[ONE]).attrs[name] = value

    return change


def _no_leaf(file: h5py.File) -> None:
    for name in ("rival", "signs", "slopes", "multipliers"):
        path = f"{ONE}/leaves/{name}"
        replaced(file, path, file[path][()][1:])


def _one_sign(file: h5py.File, to: int) -> None:
    signs = file[f"{ONE}/leaves/signs"][()]
    row, unit = np.argwhere(signs != 0)[0]
    signs[row, unit] = to * signs[row, unit]
    replaced(file, f"{ONE}/leaves/signs", signs)


DRAWS = np.random.default_rng(5)

NOT_PROVED = {
    "larger radius": _attribute("radius", 0.5),
    "other label": lambda file: [
        _set("leaves/rival", lambda x: np.where(x == 1, 0, x).astype(np.int32))(file),
        _attribute("label", 1)(file),
    ],
    "other image": _set("image", lambda x: 1 - x),
    "a leaf left out": _no_leaf,
    "a sign turned": lambda file: _one_sign(file, -1),
    "random slopes": _set("leaves/slopes", lambda x: DRAWS.random(x.shape)),
    "multipliers without signs' help": _set("leaves/multipliers", np.zeros_like),
    "huge multipliers": _set("leaves/multipliers", lambda x: np.full(x.shape, 1e30)),
    "no bounds": lambda file: [
        _set(f"relus/2/{name}", lambda x: x[:0])(file) for name in ("tightened", "lower", "upper")
    ],
    "loose bounds": lambda file: [
        _set("relus/2/lower", lambda x: x - 1e3)(file),
        _set("relus/2/upper", lambda x: x + 1e3)(file),
    ],
}


@pytest.mark.parametrize("name", NOT_PROVED)
def test_what_no_longer_proves_is_not_proved(example: Proved, tmp_path: Path, name: str) -> None:
    report = check(altered(example, tmp_path, NOT_PROVED[name]), example.model)
    assert not report.proved
    assert report.verdicts[0].reason


SOUND_ALL_THE_SAME = {
    "bounds of width zero": lambda file: [
        _set(f"relus/{at}/{side}", np.zeros_like)(file)
        for at in range(3)
        for side in ("lower", "upper")
    ],
    "bounds that contradict": lambda file: [
        _set("relus/2/lower", lambda x: np.full(x.shape, 1e9))(file),
        _set("relus/2/upper", lambda x: np.full(x.shape, -1e9))(file),
    ],
}


@pytest.mark.parametrize("name", SOUND_ALL_THE_SAME)
def test_bounds_in_the_file_are_not_believed(example: Proved, tmp_path: Path, name: str) -> None:
    path = altered(example, tmp_path, SOUND_ALL_THE_SAME[name])
    (verdict,) = check(path, example.model).verdicts
    (before,) = check(example.proof, example.model).verdicts
    assert verdict.bound == pytest.approx(before.bound, rel=1e-2)
    assert verdict.short > 0


REFUSED = {
    "other model": (_attribute("model_sha256", "0" * 64, top=True), "about another model"),
    "version": (_attribute("format_version", 2, top=True), "version"),
    "arithmetic": (_attribute("arithmetic", "float16", top=True), "arithmetic"),
    "no JSON": (_attribute("preprocessing", "{", top=True), "not JSON"),
    "preprocessing": (_attribute("preprocessing", "{}", top=True), "must have the keys"),
    "output": (_attribute("output", "nowhere", top=True), "no tensor 'nowhere'"),
    "norm": (_attribute("norm", "l3"), "norm"),
    "radius": (_attribute("radius", -1.0), "radius"),
    "radius is no number": (_attribute("radius", np.nan), "'radius' of the proof is not a number"),
    "label": (_attribute("label", 3), "does not fit"),
    "rival": (_set("leaves/rival", lambda x: x + 100), "does not fit"),
    "sign": (_set("leaves/signs", lambda x: 3 * x), "sign"),
    "slope": (_set("leaves/slopes", lambda x: x * np.nan), "not finite"),
    "units out of order": (_set("relus/1/units", lambda x: x[::-1]), "do not belong"),
    "units twice": (_set("relus/1/units", lambda x: np.repeat(x[:1], len(x))), "do not belong"),
    "units outside": (_set("relus/1/units", lambda x: x + 1000), "does not fit"),
    "bound": (_set("relus/2/lower", lambda x: x * np.inf), "not finite"),
    "type": (_set("leaves/signs", lambda x: x.astype(np.float64)), "type or size"),
    "shape": (_set("leaves/slopes", lambda x: x[:, :-1]), "do not belong"),
    "image": (_set("image", lambda x: x[0]), "type or size"),
    "image of another shape": (_set("image", lambda x: x[:, :2]), "do not fit the input"),
    "no pixels": (_set("image", lambda x: x + 1), "no valid image"),
    "nothing there": (lambda file: file.__delitem__(f"{ONE}/leaves"), "'leaves'"),
    "a link": (
        lambda file: [
            file.__delitem__(f"{ONE}/image"),
            file.__setitem__(f"{ONE}/image", h5py.ExternalLink("/etc/passwd", "/")),
        ],
        "no 'image' of its own",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_one_clear_line(example: Proved, tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    with pytest.raises((ProofFileError, UncheckableModelError)) as error:
        check(altered(example, tmp_path, change), example.model)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_without_statements_proves_nothing(example: Proved, tmp_path: Path) -> None:
    path = altered(example, tmp_path, lambda file: file.__delitem__(ONE))
    assert not check(path, example.model).proved


def test_another_model_is_refused(example: Proved, tmp_path: Path) -> None:
    with pytest.raises(ProofFileError, match="about another model"):
        check(example.proof, network(tmp_path, seed=9))
    with pytest.raises(UncheckableModelError, match="cannot be read"):
        check(example.proof, tmp_path / "nowhere.onnx")
    with pytest.raises(ProofFileError, match="not a proof file"):
        check(example.model, example.model)


def with_weights_outside(model: Path, folder: Path) -> Path:
    """The model with its weights in a file of their own."""
    folder.mkdir()
    stored = onnx.load(model)
    onnx.save_model(
        stored,
        folder / "m.onnx",
        save_as_external_data=True,
        location="m.weights",
        size_threshold=0,
    )
    assert not any(
        t.raw_data for t in onnx.load(folder / "m.onnx", load_external_data=False).graph.initializer
    )
    return folder / "m.onnx"


def test_weights_in_another_file_are_part_of_the_model(example: Proved, tmp_path: Path) -> None:
    model = with_weights_outside(example.model, tmp_path / "outside")
    classifier = load_classifier(model)
    prover = Prover.of(classifier)
    require_provable(prover, classifier, model)
    claim = example.claim
    decision = prover.decide(claim.image, claim.label, claim.ball, keep_proof=True)
    assert decision.proof is not None
    with ProofWriter(tmp_path / "p.h5", prover, classifier) as writer:
        writer.add(claim, decision.proof)
    assert check(tmp_path / "p.h5", model).proved
    weights = model.with_name("m.weights")
    content = bytearray(weights.read_bytes())
    content[3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ProofFileError, match="about another model"):
        check(tmp_path / "p.h5", model)
    weights.write_bytes(content[:-1])
    with pytest.raises(UncheckableModelError, match="does not lie in its weight file"):
        check(tmp_path / "p.h5", model)
    weights.unlink()
    with pytest.raises(UncheckableModelError, match="no weight file 'm\\.weights' in"):
        check(tmp_path / "p.h5", model)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "", "link"])
def test_no_weights_are_read_from_elsewhere(example: Proved, tmp_path: Path, location: str) -> None:
    model = with_weights_outside(example.model, tmp_path / "outside")
    (tmp_path / "secret").write_bytes(model.with_name("m.weights").read_bytes())
    (model.parent / "link").symlink_to(tmp_path / "secret")
    stored = onnx.load(model, load_external_data=False)
    for tensor in stored.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    model.write_bytes(stored.SerializeToString())
    with pytest.raises(UncheckableModelError, match="no weight file"):
        check(example.proof, model)


def test_no_numbers_prove_a_false_statement(example: Proved, tmp_path: Path) -> None:
    """At a radius with a counterexample, whatever bounds, signs, slopes and multipliers say."""
    prover = Prover.of(example.classifier)
    claim, draws = example.claim, np.random.default_rng(3)
    for radius in np.linspace(0.07, 0.3, 24):
        decision = prover.decide(claim.image, claim.label, Ball(Norm.LINF, float(radius)))
        if decision.reason is Open.REFUTED:
            break
    assert decision.counterexample is not None
    found = example.classifier.logits(decision.counterexample[None].clamp(0, 1))
    assert int(found.argmax()) != claim.label

    def change(file: h5py.File) -> None:
        file[ONE].attrs["radius"] = float(radius)
        _, u = file[f"{ONE}/leaves/signs"].shape
        _set("leaves/slopes", lambda x: draws.normal(size=x.shape))(file)
        _set(
            "leaves/multipliers",
            lambda x: draws.exponential(size=x.shape) * draws.choice([0.01, 1]),
        )(file)
        for relu in range(3):
            _set(f"relus/{relu}/lower", lambda x: draws.normal(size=x.shape))(file)
            _set(f"relus/{relu}/upper", lambda x: draws.normal(size=x.shape))(file)
        if draws.random() < 0.5:  # a full tree over a few units
            units = draws.permutation(u)[:3]
            signs = np.zeros((8, u), np.int8)
            signs[:, units] = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
            rivals = [j for j in range(3) if j != claim.label]
            replaced(file, f"{ONE}/leaves/rival", np.repeat(rivals, 8).astype(np.int32))
            replaced(file, f"{ONE}/leaves/signs", np.tile(signs, (2, 1)))
            for name in ("slopes", "multipliers"):
                values = draws.exponential(size=(16, u))
                replaced(file, f"{ONE}/leaves/{name}", values)

    for _ in range(60):
        assert not check(altered(example, tmp_path, change), example.model).proved


@pytest.mark.parametrize("tail", [("Softmax",), ("Relu", "LogSoftmax"), ("Identity",)])
def test_a_softmax_at_the_end_is_cut(tmp_path: Path, tail: tuple[str, ...]) -> None:
    model = network(tmp_path, tail=tail)
    classifier = load_classifier(model)
    require_provable(Prover.of(classifier), classifier, model)


@pytest.mark.parametrize(
    ("operator", "named"), [("Sigmoid", "(Sigmoid)"), ("Tanh", "(Tanh)"), ("Abs", "(Abs)")]
)
def test_other_networks_name_the_operation(tmp_path: Path, operator: str, named: str) -> None:
    nodes = [
        om.node("Flatten", "x", "f"),
        om.node(operator, "f", "a"),
        om.node("MatMul", "a w", "z"),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)}
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    model = om.saved(tmp_path, made)
    classifier = load_classifier(model)
    with pytest.raises(UnsupportedOperatorError, match="no proof about this model") as error:
        require_provable(Prover.of(classifier), classifier, model)
    assert named in str(error.value)


@pytest.mark.parametrize("pooled_first", [True, False])
@pytest.mark.parametrize("method", list(Method))
def test_max_pooling_and_every_method(tmp_path: Path, method: Method, pooled_first: bool) -> None:
    draws = np.random.default_rng(1)
    pooled = om.node("MaxPool", "c" if pooled_first else "r", "p", kernel_shape=[3, 3])
    relu = om.node("Relu", "p" if pooled_first else "c", "r")
    nodes = [
        om.node("Conv", "x k", "c", pads=[1, 1, 1, 1]),
        *([pooled, relu] if pooled_first else [relu, pooled]),
        om.node("Flatten", "r" if pooled_first else "p", "f"),
        om.node("MatMul", "f w", "z"),
    ]
    weights = {
        "k": draws.normal(size=(3, 1, 3, 3)).astype(np.float32),
        "w": draws.normal(size=(12, 3)).astype(np.float32),
    }
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    model = om.saved(tmp_path, made)
    classifier = load_classifier(model)
    prover = Prover.of(classifier)
    require_provable(prover, classifier, model)
    x = image()
    y = int(classifier.logits(x[None]).argmax())
    count = 0
    with ProofWriter(tmp_path / "p.h5", prover, classifier) as writer:
        for radius in (0.001, 0.01, 0.03, 0.06):
            ball = Ball(Norm.LINF, radius)
            decision = prover.decide(x, y, ball, method=method, keep_proof=True)
            if decision.proof is not None:
                writer.add(Claim(count, x, y, ball), decision.proof)
                count += 1
    report = check(tmp_path / "p.h5", model)
    assert len(report.verdicts) == count > 0
    assert report.proved


ACTIVATIONS: dict[str, tuple[list[Any], int]] = {
    "clip": ([om.node("Clip", "c low high", "r")], 3),
    "leaky relu": ([om.node("LeakyRelu", "c", "r", alpha=0.2)], 3),
    "both": ([om.node("LeakyRelu", "c", "l"), om.node("Clip", "l low high", "r")], 3),
    "one score": ([om.node("Relu", "c", "r")], 1),
    "one score of a clip": ([om.node("Clip", "c low high", "r")], 1),
}


def activated(folder: Path, name: str, *, sigmoid: bool = False) -> Path:
    """A convolution, an activation, a dense layer."""
    middle, scores = ACTIVATIONS[name]
    draws = np.random.default_rng(4)
    nodes = [
        om.node("Conv", "x k b", "c", pads=[1, 1, 1, 1]),
        *middle,
        om.node("Flatten", "r", "f"),
        om.node("Gemm", "f w v", "z"),
    ]
    nodes += [om.node("Sigmoid", "z", "p")] if sigmoid else []
    weights: dict[str, Any] = {
        "k": draws.normal(size=(2, 1, 3, 3)).astype(np.float32),
        "b": draws.normal(size=2).astype(np.float32),
        "w": (0.5 * draws.normal(size=(32, scores))).astype(np.float32),
        "v": np.full(scores, 1.5, np.float32),
    }
    if any("low" in node.input for node in middle):
        weights |= {"low": np.float32(-0.25), "high": np.float32(0.75)}
    output = "p" if sigmoid else "z"
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={output: None}, weights=weights)
    return om.saved(folder, made)


@pytest.mark.parametrize("arithmetic", list(Arithmetic))
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_clips_leaky_relus_and_single_scores_are_proved_again(
    tmp_path: Path, name: str, arithmetic: Arithmetic
) -> None:
    model = activated(tmp_path, name, sigmoid="one score" in name)
    classifier = load_classifier(model)
    prover = Prover.of(classifier, arithmetic)
    require_provable(prover, classifier, model)
    x = image()
    y = int(classifier.logits(x[None]).argmax())
    largest = 0.0
    with ProofWriter(tmp_path / "p.h5", prover, classifier) as writer:
        for count, radius in enumerate((0.002, 0.01, 0.03, 0.06)):
            ball = Ball(Norm.LINF, radius)
            decision = prover.decide(x, y, ball, method=Method.AUTO, keep_proof=True)
            if decision.proof is None:
                break
            writer.add(Claim(count, x, y, ball), decision.proof)
            largest = radius
    assert largest >= 0.01
    report = check(tmp_path / "p.h5", model)
    assert report.proved
    assert all(verdict.short == 0 for verdict in report.verdicts)
    # what is claimed is true of the runtime at random corners of the ball
    corners = (x + largest * (2 * torch.randint(0, 2, (500, *SHAPE)) - 1)).clamp(0, 1)
    assert bool((classifier.logits(corners).argmax(1) == y).all())


def test_an_input_of_whole_numbers_is_proved_on_its_levels(tmp_path: Path) -> None:
    model = om.saved(tmp_path, whole_numbers(integer=True))
    classifier = load_classifier(model)
    prover = Prover.of(classifier)
    require_provable(prover, classifier, model)
    pixels = photographs(1)[0].astype(np.float32) / 255
    x = torch.from_numpy(pixels[None])
    y = int(classifier.logits(x[None]).argmax())
    for levels in (8, 4, 2, 1):
        ball = Ball(Norm.LINF, levels / 255)
        decision = prover.decide(x, y, ball, keep_proof=True)
        if decision.proof is not None:
            break
    assert decision.proof is not None
    with ProofWriter(tmp_path / "p.h5", prover, classifier) as writer:
        writer.add(Claim(0, x, y, ball), decision.proof)
    report = check(tmp_path / "p.h5", model)
    assert report.proved
    assert "on the levels of the input" in report.claim
    draws = torch.Generator().manual_seed(0)
    change = torch.randint(-levels, levels + 1, (500, *x.shape), generator=draws) / 255
    assert bool((classifier.logits((x + change).clamp(0, 1)).argmax(1) == y).all())


def test_arithmetic_on_whole_numbers_is_refused(tmp_path: Path) -> None:
    """uint8 wraps around at 256."""
    made = whole_numbers(integer=True)
    made.graph.node[0].input[0] = "doubled"
    made.graph.node.insert(0, om.node("Add", "x x", "doubled"))
    how = preprocessing((1, 6, 6), range=[0.0, 255.0], dtype="uint8")
    with pytest.raises(UncheckableModelError, match=r"'doubled_node' \(Add\): it computes with"):
        read_network(made.SerializeToString(), "", how, (1, 6, 6))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_false_statement_about_them_is_not_proved(tmp_path: Path, name: str) -> None:
    """The proof of a small radius, with a radius at which an image of another class is known."""
    model = activated(tmp_path, name)
    classifier = load_classifier(model)
    prover = Prover.of(classifier)
    x = image()
    y = int(classifier.logits(x[None]).argmax())
    decision = prover.decide(x, y, Ball(Norm.LINF, 0.002), keep_proof=True)
    assert decision.proof is not None
    with ProofWriter(tmp_path / "p.h5", prover, classifier) as writer:
        writer.add(Claim(0, x, y, Ball(Norm.LINF, 0.002)), decision.proof)
    draws = torch.Generator().manual_seed(0)
    anywhere = torch.rand(4000, *SHAPE, generator=draws).round()
    assert bool((classifier.logits(anywhere).argmax(1) != y).any())
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        file[ONE].attrs["radius"] = 1.0
    sealed(tmp_path / "p.h5")
    assert not check(tmp_path / "p.h5", model).proved


def test_an_interrupted_file_does_not_appear(example: Proved, tmp_path: Path) -> None:
    prover, path = Prover.of(example.classifier), tmp_path / "p.h5"
    with pytest.raises(KeyboardInterrupt), ProofWriter(path, prover, example.classifier):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot write"):
        ProofWriter(tmp_path / "no" / "p.h5", prover, example.classifier)


def test_what_is_proved_is_true_of_random_images(example: Proved) -> None:
    claim = example.claim
    torch.manual_seed(0)
    change = (2 * torch.rand(2000, *SHAPE) - 1) * claim.ball.epsilon
    near = (claim.image + change).clamp(0, 1)
    assert (example.classifier.logits(near).argmax(1) == claim.label).all()

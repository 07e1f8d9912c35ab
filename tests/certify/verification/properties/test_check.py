"""Answers to properties of networks whose extremes are known."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import onnxruntime
import pytest
import torch
import vnnlib_files as vf
from onnx import TensorProto
from relu_nets import ReluNet

from robcert.certify.errors import (
    InvalidParameterError,
    ModelFileError,
    PropertyFileError,
    TwinUnavailableError,
)
from robcert.certify.importer import load_tensor_function
from robcert.certify.verification.outcome import Arithmetic, Decision, Method, Open
from robcert.certify.verification.properties import (
    Answer,
    PropertySettings,
    PropertySummary,
    check_property,
    property_tables,
    read_property,
)
from robcert.certify.verification.properties import check as check_module
from robcert.certify.verification.properties.check import decided
from robcert.certify.verification.properties.splitting import Halving
from robcert.certify.verification.prover import Statement

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.verification.properties.splitting import ProvesStatements

SHORT = PropertySettings(seconds=20)
ONCE = replace(SHORT, method=Method.CROWN)
"""The prover is asked once about each case."""


class Enumeration:
    """Proves by the linear programs of ``ReluNet.smallest``."""

    def __init__(self, net: ReluNet) -> None:
        self.net = net
        self.statements: list[Statement] = []

    def decide_statement(
        self, statement: Statement, *, method: Method, deadline: float
    ) -> Decision:
        self.statements.append(statement)
        parts = (statement.lower, statement.upper, statement.rows, statement.offsets)
        lower, upper, rows, offsets = (part.double().numpy() for part in parts)
        box = np.stack([lower.reshape(-1), upper.reshape(-1)])
        bound = self.net.smallest(box, rows, offsets)
        proved = bound > 1e-6
        return Decision(proved, bound, Method.CROWN, 1, Open.NO if proved else Open.LOOSE)


class Answering:
    """Gives one answer to everything."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.asked = 0

    def decide_statement(
        self, statement: Statement, *, method: Method, deadline: float
    ) -> Decision:
        self.asked += 1
        return self.decision


OPEN = Decision(False, -1.0, Method.CROWN, reason=Open.LOOSE)


def identity(folder: Path, shape: tuple[int | str, ...] = (1, 2)) -> Path:
    """The function y = 1 x of two numbers."""
    made = om.model(
        [om.node("Mul", "x one", "y")],
        inputs={"x": shape},
        outputs={"y": None},
        weights={"one": np.ones(1, np.float32)},
    )
    return om.saved(folder, made)


def answer(
    folder: Path, model: Path, text: str, prover: ProvesStatements | None = None
) -> PropertySummary:
    """The answer of the given prover, or of robcert's own."""
    unsafe = read_property(vf.written(folder, text))
    settings = SHORT if prover is None else ONCE
    return decided(load_tensor_function(model), unsafe, settings, prover=prover)


def reread(summary: PropertySummary) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inputs and outputs from the answer file of a competition."""
    word, *lines = summary.answer_text().splitlines()
    assert word == "sat"
    text = " ".join(lines)
    assert text.startswith("((X_0 ")
    assert text.endswith("))")
    pairs = [pair.split() for pair in text.strip("() ").replace("(", "").split(")") if pair.strip()]
    values = {name: float(value) for name, value in pairs}
    inputs = [values[f"X_{i}"] for i in range(sum(name.startswith("X") for name in values))]
    outputs = [values[f"Y_{j}"] for j in range(sum(name.startswith("Y") for name in values))]
    return np.array(inputs).astype(np.float32), np.array(outputs).astype(np.float32)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(("margin", "expected"), [(0.01, Answer.HOLDS), (-0.01, Answer.VIOLATED)])
def test_a_threshold_on_either_side_of_the_extreme(
    tmp_path: Path, version: str, margin: float, expected: Answer
) -> None:
    # The network has one linear piece: its maximum over a box is known in closed form.
    net = replace(ReluNet.random(3, 4, 5, 2), a=np.full(5, 100.0))
    slope, constant = net.v @ net.w, net.v @ net.a + net.b
    largest = float(slope[0] @ np.full(4, 0.5) + constant[0] + 0.25 * np.abs(slope[0]).sum())
    style, name = (vf.old_style, "Y_0") if version == "1.0" else (vf.new_style, "Y[0,0]")
    text = style([(0.25, 0.75)] * 4, 2, f"(>= {name} {largest + margin})")
    summary = answer(tmp_path, net.saved(tmp_path), text, Enumeration(net))
    assert summary.answer is expected
    assert summary.version == version


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shift", [-0.02, 0.3])
def test_answers_agree_with_enumeration(tmp_path: Path, seed: int, shift: float) -> None:
    net = ReluNet.random(seed, 3, 6, 3)
    centre = np.random.default_rng(seed).normal(size=3).round(3)
    box = np.stack([centre - 0.4, centre + 0.4])
    peak = -net.smallest(box, np.array([[-1.0, 0, 0]]), np.zeros(1))
    unsafe = f"(or (>= Y_0 {peak + shift}) (and (<= Y_1 -1e3) (<= Y_2 Y_0)))"
    text = vf.old_style([*map(tuple, box.T.tolist())], 3, unsafe)
    summary = answer(tmp_path, net.saved(tmp_path), text, Enumeration(net))
    assert summary.answer is (Answer.HOLDS if shift > 0 else Answer.VIOLATED)
    assert summary.cases == 2
    assert summary.proved == (2 if shift > 0 else 0)


def test_a_counterexample_is_confirmed_by_its_printed_numbers(tmp_path: Path) -> None:
    net = ReluNet.random(1, 3, 6, 2)
    path = net.saved(tmp_path)
    bounds = [("0.1", "0.3"), ("-0.7", "-0.7"), ("0.333333333333333333", "1")]
    summary = answer(tmp_path, path, vf.old_style(bounds, 2, "(<= Y_0 1000)"))
    inputs, outputs = reread(summary)
    session = onnxruntime.InferenceSession(path.read_bytes())
    (again,) = session.run(None, {"x": inputs[None]})
    assert np.array_equal(again[0], outputs)
    assert summary.witness is not None
    for text, (low, high) in zip(summary.witness.inputs, bounds, strict=True):
        assert Fraction(low) <= Fraction(text) <= Fraction(high)


def test_the_same_question_has_the_same_counterexample(tmp_path: Path) -> None:
    net = ReluNet.random(2, 3, 6, 2)
    path = net.saved(tmp_path)
    box = np.array([[-1.0] * 3, [1.0] * 3])
    least = net.smallest(box, np.array([[1.0, -1.0]]), np.zeros(1))
    text = vf.old_style([(-1, 1)] * 3, 2, f"(<= (- Y_0 Y_1) {least + 0.01})")
    first, second = (answer(tmp_path, path, text) for _ in range(2))
    assert first.witness is not None
    assert first.witness == second.witness


def test_the_boundary_is_unsafe(tmp_path: Path) -> None:
    text = vf.old_style([(0, 1), (0, 0.5)], 2, "(> Y_0 1)")
    summary = answer(tmp_path, identity(tmp_path), text, Answering(OPEN))
    assert summary.answer is Answer.VIOLATED
    assert summary.witness is not None
    assert summary.witness.exact


def test_a_miss_within_the_tolerance_counts_only_without_a_proof(tmp_path: Path) -> None:
    # The decimal 0.1 is not reached by a float32 of [0, 0.0999999999].
    text = vf.old_style([(0, "0.0999999999"), (0, 1)], 2, "(>= Y_0 0.10001)")
    unsafe = read_property(vf.written(tmp_path, text))
    network = load_tensor_function(identity(tmp_path))
    near = decided(network, unsafe, ONCE, prover=Answering(OPEN))
    assert near.answer is Answer.WITHIN_TOLERANCE
    assert near.witness is not None
    assert 0 < near.witness.miss < 1e-4
    assert near.answer.word == "sat"
    assert near.meaning.startswith("Neither a proof nor an input with unsafe outputs was found.")
    assert "which the verification competition counts as violated" in near.meaning
    found = near.to_json()["counterexample"]
    assert isinstance(found, dict)
    assert (found["exact"], found["miss"]) == (False, near.witness.miss)
    first, second = property_tables(near)
    assert first.claim != "attacked"
    assert ("answer", "violated within tolerance") in first.rows
    assert "within the tolerance" in second.title
    strict = replace(ONCE, tolerance=0)
    assert decided(network, unsafe, strict, prover=Answering(OPEN)).answer is Answer.UNKNOWN
    proved = Answering(Decision(True, 1e-5, Method.CROWN))
    assert decided(network, unsafe, ONCE, prover=proved).answer is Answer.HOLDS


def test_the_tolerance_is_relative_to_small_outputs(tmp_path: Path) -> None:
    # A miss of 5e-5 is half of the outputs here.
    text = vf.old_style([(0, "5e-5"), (0, 1)], 2, "(>= Y_0 1e-4)")
    summary = answer(tmp_path, identity(tmp_path), text, Answering(OPEN))
    assert summary.answer is Answer.UNKNOWN


def test_the_first_case_that_resists_ends_the_proofs(tmp_path: Path) -> None:
    unsafe = "(or (>= Y_0 5) (>= Y_0 3) (>= Y_1 9))"
    prover = Answering(OPEN)
    summary = answer(tmp_path, identity(tmp_path), vf.old_style([(0, 1)] * 2, 2, unsafe), prover)
    assert (summary.answer, summary.cases, summary.proved) == (Answer.UNKNOWN, 3, 0)
    assert summary.reason == "loose bounds"
    assert prover.asked == 1


def test_an_exhausted_budget_is_a_timeout(tmp_path: Path) -> None:
    text = vf.old_style([(0, 1)] * 2, 2, "(>= Y_0 5)")
    late = Answering(Decision(False, -1.0, Method.BRANCH, reason=Open.TIME))
    assert answer(tmp_path, identity(tmp_path), text, late).answer is Answer.TIMEOUT
    unsafe = read_property(vf.written(tmp_path, text))
    settings = PropertySettings(seconds=1e-9)
    unasked = Answering(OPEN)
    summary = decided(load_tensor_function(identity(tmp_path)), unsafe, settings, prover=unasked)
    assert (summary.answer, unasked.asked) == (Answer.TIMEOUT, 0)
    assert summary.answer_text() == "timeout\n"


def test_a_counterexample_of_the_prover_is_checked_in_the_runtime(tmp_path: Path) -> None:
    text = vf.old_style([(0, 1)] * 2, 2, "(>= Y_0 5)")
    claimed = replace(OPEN, counterexample=torch.tensor([1.0, 0.5]))
    summary = answer(tmp_path, identity(tmp_path), text, Answering(claimed))
    assert summary.answer is Answer.UNKNOWN
    outside = replace(OPEN, counterexample=torch.tensor([9.0, 0.5]))
    assert answer(tmp_path, identity(tmp_path), text, Answering(outside)).witness is None


def test_a_needle_is_not_certified(tmp_path: Path) -> None:
    # y = max(0, 1 - 1000 |x - 0.7391| ) in one input: the rest of [0, 1] has no slope.
    centre, steep = np.float64(np.float32(0.7391)), 1000.0
    net = ReluNet(
        w=np.full((3, 1), steep),
        a=np.array([1 - steep * centre, -steep * centre, -1 - steep * centre]),
        v=np.array([[1.0, -2.0, 1.0]]),
        b=np.zeros(1),
    )
    assert net(np.array([[centre]]))[0, 0] == pytest.approx(1, abs=1e-3)
    text = vf.old_style([(0, 1)], 1, "(>= Y_0 0.9)")
    summary = answer(tmp_path, net.saved(tmp_path), text)
    assert summary.answer is not Answer.HOLDS
    above = answer(tmp_path, net.saved(tmp_path), vf.old_style([(0, 1)], 1, "(>= Y_0 1.1)"))
    assert above.answer is not Answer.VIOLATED


def test_no_constraint_of_the_outputs_is_violated_by_any_input(tmp_path: Path) -> None:
    text = vf.old_style([(0, 1), (2, 3)], 2, "(<= 0 1)")
    assert answer(tmp_path, identity(tmp_path), text).answer is Answer.VIOLATED


def test_empty_boxes_are_said_to_hold_for_every_model(tmp_path: Path) -> None:
    summary = answer(tmp_path, identity(tmp_path), vf.old_style([(1, 0), (0, 1)], 2, "(<= Y_0 0)"))
    assert summary.answer is Answer.HOLDS
    assert summary.notes == ("all boxes are empty, so the property holds for every model",)


def test_a_twin_that_differs_proves_nothing(tmp_path: Path) -> None:
    text = vf.old_style([(0, 1)] * 3, 2, "(>= Y_0 1000)")
    (tmp_path / "other").mkdir()
    network = load_tensor_function(ReluNet.random(1, 3, 4, 2).saved(tmp_path))
    other = load_tensor_function(ReluNet.random(2, 3, 4, 2).saved(tmp_path / "other"))
    mixed = replace(network, module=other.module)
    prover = Answering(Decision(True, 1.0, Method.CROWN))
    unsafe = read_property(vf.written(tmp_path, text))
    summary = decided(mixed, unsafe, SHORT, prover=prover)
    assert (summary.answer, prover.asked) == (Answer.UNKNOWN, 0)
    assert summary.reason.startswith("runtime and twin differ by ")


def test_undefined_outputs_are_no_counterexample(tmp_path: Path) -> None:
    made = om.model(
        [om.node("Div", "x x", "y")], inputs={"x": (1, 1)}, outputs={"y": None}
    )  # 0 / 0 is NaN
    path = om.saved(tmp_path, made)
    text = vf.old_style([(0, 0)], 1, "(<= Y_0 1000)")
    assert answer(tmp_path, path, text, Answering(OPEN)).answer is Answer.UNKNOWN


@pytest.mark.parametrize(
    "shape", [(1, 2), ("batch", 2), (1, 1, 1, 2), (2,), (2, 1), (1, 2, 1), ("N", 1, 2)]
)
def test_inputs_of_any_shape(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    path = identity(tmp_path, shape)
    text = vf.old_style([(0, 1), (5, 6)], 2, "(and (>= Y_1 5.5) (<= Y_0 0.5))")
    summary = answer(tmp_path, path, text)
    assert summary.answer is Answer.VIOLATED
    assert math.prod(summary.input_shape) == 2
    safe = vf.old_style([(0, 1), (5, 6)], 2, "(<= Y_1 Y_0)")
    assert answer(tmp_path, path, safe).answer is Answer.HOLDS


def test_a_property_of_another_model_is_refused(tmp_path: Path) -> None:
    for bounds, outputs, expected in (
        ([(0, 1)], 2, "the property has 1 inputs, the model has 2"),
        ([(0, 1)] * 2, 3, "the property has 3 outputs, the model has 2"),
    ):
        file = vf.written(tmp_path, vf.old_style(bounds, outputs, "(<= Y_0 0)"))
        with pytest.raises(PropertyFileError, match=expected):
            check_property(identity(tmp_path), file)


def test_a_model_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    file = vf.written(tmp_path, vf.old_style([(0, 1)] * 2, 2, "(<= Y_0 0)"))
    double = {"x": TensorProto.DOUBLE, "y": TensorProto.DOUBLE}
    cases = [
        (om.model([om.node("Abs", "x", "y")], inputs={"x": (1, 2)}, outputs={"y": None},
                  types=double), "needs a float32 tensor"),
        (om.model([om.node("Add", "x z", "y")], inputs={"x": (1, 2), "z": (1, 2)},
                  outputs={"y": None}), "needs a model with one input"),
        (om.model([om.node("Abs", "x", "y"), om.node("Neg", "x", "z")], inputs={"x": (1, 2)},
                  outputs={"y": None, "z": None}),
         r"several float32 tensors of 2 elements .* y .*, z "),
        (om.model([om.node("Abs", "x", "y")], inputs={"x": (1, "n", 2)}, outputs={"y": None}),
         "the shape of input 'x' is not fixed"),
    ]  # fmt: skip
    for made, expected in cases:
        with pytest.raises(ModelFileError, match=expected):
            check_property(om.saved(tmp_path, made), file)
    random = om.model(
        [om.node("RandomNormalLike", "x", "noise"), om.node("Add", "x noise", "y")],
        inputs={"x": (1, 2)},
        outputs={"y": None},
    )
    with pytest.raises(TwinUnavailableError, match="random or left in training mode"):
        check_property(om.saved(tmp_path, random), file)
    unknown = om.model([om.node("Unique", "x", "y")], inputs={"x": (1, 2)}, outputs={"y": None})
    with pytest.raises(TwinUnavailableError, match="Unique"):
        check_property(om.saved(tmp_path, unknown), file)


def test_one_of_several_outputs_can_be_chosen(tmp_path: Path) -> None:
    nodes = [om.node("Abs", "x", "y"), om.node("Neg", "x", "z")]
    made = om.model(nodes, inputs={"x": (1, 2)}, outputs={"y": None, "z": None})
    file = vf.written(tmp_path, vf.old_style([(1, 2)] * 2, 2, "(<= Y_0 -1)"))
    path = om.saved(tmp_path, made)
    assert check_property(path, file, SHORT, output="z").answer is Answer.VIOLATED
    assert check_property(path, file, SHORT, output="y").answer is Answer.HOLDS


def test_tracing_the_network_takes_nothing_from_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = check_module._prover

    def slowly(*given: Any) -> ProvesStatements:
        time.sleep(2.5)
        return trace(*given)

    monkeypatch.setattr(check_module, "_prover", slowly)
    text = vf.old_style([(0, 1)] * 2, 2, "(>= Y_0 1.5)")
    file = vf.written(tmp_path, text)
    summary = check_property(identity(tmp_path), file, PropertySettings(seconds=2))
    assert summary.answer is Answer.HOLDS
    assert summary.seconds < 2.5


def labelled_scores(folder: Path, scores: dict[str, int]) -> Path:
    """A class label beside scores of three classes, as scikit-learn exports a classifier.

    Args:
        folder: where the model is saved.
        scores: outputs with scores, with their numbers of classes.
    """
    nodes = [om.node("ArgMax", "x", "label", axis=1)]
    weights = {}
    for name, count in scores.items():
        nodes.append(om.node("MatMul", f"x {name}_weight", name))
        weights[f"{name}_weight"] = np.eye(2, count, dtype=np.float32)
    made = om.model(
        nodes,
        inputs={"x": ("batch", 2)},
        outputs={"label": None, **dict.fromkeys(scores)},
        weights=weights,
        types={"label": TensorProto.INT64},
    )
    return om.saved(folder, made)


def test_scores_beside_a_class_label_are_the_outputs(tmp_path: Path) -> None:
    file = vf.written(tmp_path, vf.old_style([(1, 2)] * 2, 3, "(<= Y_0 1.5)"))
    summary = check_property(labelled_scores(tmp_path, {"scores": 3}), file, SHORT)
    assert (summary.answer, summary.output_name) == (Answer.VIOLATED, "scores")
    assert ("outputs", "3, of scores") in next(property_tables(summary)).rows
    path = labelled_scores(tmp_path, {"hidden": 4, "scores": 3})
    assert check_property(path, file, SHORT).output_name == "scores"


def test_outputs_that_fit_alike_are_named(tmp_path: Path) -> None:
    file = vf.written(tmp_path, vf.old_style([(1, 2)] * 2, 3, "(<= Y_0 1.5)"))
    path = labelled_scores(tmp_path, {"logits": 3, "scores": 3})
    with pytest.raises(ModelFileError, match="several float32 tensors of 3 elements") as caught:
        check_property(path, file, SHORT)
    assert "label (int64 [1, 1]), logits (float32 [1, 3])" in str(caught.value)
    assert caught.value.hint == "choose one: --output logits"
    assert check_property(path, file, SHORT, output="scores").output_name == "scores"
    none = labelled_scores(tmp_path, {"scores": 4})
    with pytest.raises(ModelFileError, match="no float32 tensor of 3 elements"):
        check_property(none, file, SHORT)


def test_a_counterexample_is_shown_with_the_digits_that_tell_float32_apart(tmp_path: Path) -> None:
    box = [("0.1", "0.10000001"), ("0.3", "0.30000003")]
    text = vf.old_style(box, 2, "(<= Y_0 1)")
    summary = answer(tmp_path, identity(tmp_path), text)
    assert summary.witness is not None
    _, table = property_tables(summary)
    for (_, shown), value in zip(table.rows, summary.witness.inputs, strict=False):
        assert len(shown) <= 12
        assert np.float32(shown) == np.float32(value)
    assert "inputs to the last digit, are in the answer file" in table.note


@pytest.mark.parametrize("arithmetic", list(Arithmetic))
@pytest.mark.parametrize("seed", range(4))
def test_own_proofs_agree_with_enumeration(
    tmp_path: Path, seed: int, arithmetic: Arithmetic
) -> None:
    net = ReluNet.random(seed, 4, 8, 3)
    box = np.array([[-0.3] * 4, [0.3] * 4])
    rows = np.array([[1.0, -1, 0], [0, 1, -1]])
    least = net.smallest(box, rows, np.zeros(2))
    path = net.saved(tmp_path)
    for shift, expected in ((0.05, Answer.HOLDS), (-0.05, Answer.VIOLATED)):
        level = least - shift
        unsafe = f"(and (<= (- Y_0 Y_1) {level}) (<= (- Y_1 Y_2) {level}))"
        file = vf.written(tmp_path, vf.old_style([(-0.3, 0.3)] * 4, 3, unsafe))
        summary = check_property(path, file, replace(SHORT, arithmetic=arithmetic))
        assert summary.answer is expected, summary.reason
        assert summary.arithmetic is arithmetic


@pytest.mark.parametrize(
    ("arithmetic", "expected"),
    [(Arithmetic.FLOAT32, Answer.UNKNOWN), (Arithmetic.REAL, Answer.HOLDS)],
)
def test_a_network_in_int8_is_proved_in_real_arithmetic_alone(
    tmp_path: Path, arithmetic: Arithmetic, expected: Answer
) -> None:
    """As for classifiers: runtimes merge quantised operators in ways of their own."""
    nodes = [
        om.node("QuantizeLinear", "x step zero", "q"),
        om.node("DequantizeLinear", "q step zero", "d"),
        om.node("MatMul", "d w", "y"),
    ]
    step, zero = np.array(0.01, np.float32), np.array(0, np.uint8)
    graph = om.model(
        nodes,
        inputs={"x": (1, 2)},
        outputs={"y": (1, 2)},
        weights={"step": step, "zero": zero, "w": np.eye(2, dtype=np.float32)},
    )
    file = vf.written(tmp_path, vf.old_style([(0, 1)] * 2, 2, "(>= Y_1 1.1)"))
    settings = replace(SHORT, arithmetic=arithmetic)
    summary = check_property(om.saved(tmp_path, graph), file, settings)
    assert summary.answer is expected
    assert ("number format" in summary.reason) == (expected is Answer.UNKNOWN)


def test_the_budget_is_kept(tmp_path: Path) -> None:
    net = ReluNet.random(0, 12, 200, 2)
    rows = "(and (>= Y_0 20) (>= Y_1 20))"
    file = vf.written(tmp_path, vf.old_style([(-1, 1)] * 12, 2, rows))
    path = net.saved(tmp_path)
    start = time.monotonic()
    check_property(path, file, PropertySettings(seconds=2))
    assert time.monotonic() - start < 8  # loading takes a second or two


def test_tables_and_json(tmp_path: Path) -> None:
    text = vf.old_style([(0, 1), (5, 6)], 2, "(>= Y_1 5.5)")
    summary = answer(tmp_path, identity(tmp_path), text)
    answered, example = property_tables(summary)
    assert answered.claim == example.claim == "attacked"
    assert ("answer", "violated") in answered.rows
    assert [name for name, _ in example.rows] == ["X_0", "X_1", "Y_0", "Y_1"]
    found = json.loads(json.dumps(summary.to_json()))
    assert found["answer"] == "violated"
    assert found["counterexample"]["miss"] == 0
    assert list(found["counterexample"]["outputs"]) == ["Y_0", "Y_1"]
    safe = answer(tmp_path, identity(tmp_path), vf.old_style([(0, 1)] * 2, 2, "(>= Y_1 2)"))
    (only,) = property_tables(safe)
    assert only.claim == "certified"
    assert safe.answer_text() == "unsat\n"
    assert safe.to_json()["counterexample"] is None


def test_invalid_settings_are_refused() -> None:
    for wrong in (
        partial(PropertySettings, seconds=0.0),
        partial(PropertySettings, starts=1),
        partial(PropertySettings, steps=0),
        partial(PropertySettings, tolerance=-1.0),
        partial(PropertySettings, tolerance=0.1),
    ):
        with pytest.raises(InvalidParameterError):
            wrong()


@pytest.mark.parametrize("seed", range(3))
def test_halving_proves_a_conjunction_by_different_rows(tmp_path: Path, seed: int) -> None:
    # The rows sum to 0, so none of them can be the largest everywhere.
    net = ReluNet.random(seed, 2, 6, 3)
    box = np.array([[-1.0, -1.0], [1.0, 1.0]])
    rows = np.array([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
    least = net.smallest(box, rows, np.zeros(3))
    alone = [net.smallest(box, row[None], np.zeros(1)) for row in rows]
    level = least - 0.05
    assert level > max(alone)
    path = net.saved(tmp_path)
    parts = ["(- Y_0 Y_1)", "(- Y_2 Y_0)", "(- Y_1 Y_2)"]
    unsafe = "(and " + " ".join(f"(<= {part} {level})" for part in parts) + ")"
    file = vf.written(tmp_path, vf.old_style([(-1, 1)] * 2, 3, unsafe))
    summary = check_property(path, file, SHORT)
    assert summary.answer is Answer.HOLDS
    assert summary.branches > 1


def test_halves_cover_their_box() -> None:
    class Slope:
        input_shape, outputs = (3,), 1

        def twin(self, x: torch.Tensor) -> torch.Tensor:
            return x @ torch.tensor([[1.0], [5.0], [0.0]])

    class Small:
        """Proves small parts and remembers them."""

        def __init__(self) -> None:
            self.parts: list[Statement] = []

        def decide_statement(
            self, statement: Statement, *, method: Method, deadline: float
        ) -> Decision:
            proved = bool(((statement.upper - statement.lower)[:2] < 0.3).all())
            self.parts += [statement] * proved
            return Decision(proved, 1.0 if proved else -1.0, Method.CROWN)

    lower, upper = torch.tensor([0.1, -1.0, 2.0]).double(), torch.tensor([0.7, 1.0, 2.0]).double()
    whole = statement_of(lower, upper)
    small = Small()
    decision = Halving(Slope(), small, math.inf, lambda _: False).decide(whole)
    assert decision.proved
    generator = torch.Generator().manual_seed(0)
    points = torch.lerp(lower, upper, torch.rand(5000, 3, generator=generator).double())
    faces = torch.stack([part.lower for part in small.parts])
    points = torch.cat([points, faces, torch.stack([lower, upper])])
    inside = [((points >= part.lower) & (points <= part.upper)).all(1) for part in small.parts]
    assert bool(torch.stack(inside).any(0).all())
    volumes = [(part.upper - part.lower)[:2].prod() for part in small.parts]
    assert float(sum(volumes)) == pytest.approx(float((upper - lower)[:2].prod()))


def test_a_box_that_cannot_be_halved_stays_open() -> None:
    class Constant:
        input_shape, outputs = (1,), 1

        def twin(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(x), 1)

    low = torch.tensor([1.0], dtype=torch.float32)
    high = torch.nextafter(low, torch.tensor([2.0]))
    open_ = Halving(Constant(), Answering(OPEN), math.inf, lambda _: False)
    decision = open_.decide(statement_of(low.double(), high.double()))
    assert (decision.proved, decision.reason, decision.branches) == (False, Open.LOOSE, 1)


def statement_of(lower: torch.Tensor, upper: torch.Tensor) -> Statement:
    """A statement about one output that is not looked at."""
    rows = torch.ones(1, 1, dtype=torch.float64)
    return Statement(lower, upper, rows, torch.full((1,), 100.0, dtype=torch.float64))

from __future__ import annotations

import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from onnx_models import linear, model, node

from robcert.certify.errors import AmbiguousOutputError, ModelFileError
from robcert.certify.importer.graph.facts import GraphFacts
from robcert.certify.importer.graph.graph_edits import restricted
from robcert.certify.importer.outputs import choose_output, logits_behind, score_count
from robcert.certify.importer.runtime.sandbox import OutputFact
from robcert.certify.importer.scores import ScoreRule, score_rule, squashed


def with_outputs(made: ModelProto, *names: str) -> ModelProto:
    made.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return made


def chosen(made: ModelProto, **shapes: tuple[int, ...]) -> str:
    outputs = {name: OutputFact("float32", shape) for name, shape in shapes.items()}
    return choose_output("model.onnx", made, outputs, GraphFacts.of(made))


@pytest.mark.parametrize(
    ("dtype", "shape", "count"),
    [
        ("float32", (1, 10), 10),
        ("float16", (1, 1000, 1, 1), 1000),
        ("int8", (1, 10), 10),
        ("float32", (10,), 10),
        ("float32", (1, 1), 1),
        ("float32", (), 1),
        ("int64", (1, 10), 0),
        ("float32", (1,), 1),
        ("float32", (1, 21, 8, 8), 0),
        ("sequence", (), 0),
    ],
)
def test_scores_have_one_axis_beside_the_batch(
    dtype: str, shape: tuple[int, ...], count: int
) -> None:
    assert score_count(OutputFact(dtype, shape), 1) == count


@pytest.mark.parametrize(
    ("tail", "squashing", "tensor"),
    [
        ([node("Softmax", "logits", "out")], "softmax", "logits"),
        ([node("LogSoftmax", "logits", "out")], "log-softmax", "logits"),
        ([node("Softmax", "logits", "p"), node("Log", "p", "out")], "log-softmax", "logits"),
        ([node("Sigmoid", "logits", "out")], "sigmoid", "logits"),
        (
            [
                node("Softmax", "logits", "p"),
                node("Unsqueeze", "p axes", "wide"),
                node("Identity", "wide", "same"),
                node("Cast", "same", "out", to=TensorProto.FLOAT16),
            ],
            "softmax",
            "logits",
        ),
        (
            [
                node("Exp", "logits", "e"),
                node("ReduceSum", "e", "total", keepdims=1),
                node("Div", "e total", "out"),
            ],
            "softmax",
            "logits",
        ),
        ([node("Relu", "logits", "out")], "none", "out"),
        ([node("Div", "logits half", "out")], "none", "out"),
        ([node("Softmax", "logits", "p"), node("Add", "p p", "out")], "none", "out"),
    ],
)
def test_the_logits_are_found_before_a_final_squashing(
    tail: list[object], squashing: str, tensor: str
) -> None:
    cut = logits_behind(linear(tail=tail), "out")  # type: ignore[arg-type]
    assert (cut.squashing, cut.tensor) == (squashing, tensor)


def test_logits_and_their_probabilities_are_one_choice() -> None:
    made = with_outputs(linear(tail=[node("Softmax", "logits", "out")]), "logits")
    assert chosen(made, out=(1, 5), logits=(1, 5)) == "out"


def test_an_output_that_another_depends_on_is_intermediate() -> None:
    made = with_outputs(linear(), "flat")
    assert chosen(made, logits=(1, 5), flat=(1, 48)) == "logits"


def test_two_heads_are_named() -> None:
    made = with_outputs(linear(), "other")
    made.graph.node.append(node("MatMul", "flat w", "other"))
    with pytest.raises(AmbiguousOutputError, match="logits, other") as caught:
        chosen(made, logits=(1, 5), other=(1, 5))
    assert caught.value.choices == ("logits", "other")
    assert "--output logits" in caught.value.hint


def test_a_label_alone_is_no_classifier_but_the_scores_are_suggested() -> None:
    made = linear(tail=[node("ArgMax", "logits", "out", axis=1)])
    outputs = {"out": OutputFact("int64", (1, 1))}
    with pytest.raises(ModelFileError, match="no float tensor of class scores") as caught:
        choose_output("model.onnx", made, outputs, GraphFacts.of(made))
    assert caught.value.hint.endswith("candidates: logits")


def test_an_unneeded_input_and_its_nodes_go() -> None:
    made = model(
        [
            node("Relu", "x", "scores"),
            node("Sub", "scores labels", "difference"),
            node("ReduceMean", "difference", "loss", keepdims=0),
        ],
        inputs={"labels": ["n", 4], "x": ["n", 4]},
        outputs={"loss": []},
    )
    cut = restricted(made, ["scores"])
    assert [entry.name for entry in cut.graph.input] == ["x"]
    assert [entry.op_type for entry in cut.graph.node] == ["Relu"]
    assert len(made.graph.node) == 3
    with pytest.raises(ModelFileError, match="no tensor called 'nothing'"):
        restricted(made, ["nothing"])


def test_rules_by_hand() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    p = logits.softmax(1)
    assert score_rule(p, is_squashed=False) == ScoreRule("probabilities", 3)
    assert score_rule(p, is_squashed=True) == ScoreRule("logits", 3)
    assert score_rule(logits, is_squashed=False) == ScoreRule("logits", 3)
    torch.testing.assert_close(ScoreRule("probabilities", 3)(p).softmax(1), p)
    torch.testing.assert_close(squashed(logits, "softmax"), p)
    torch.testing.assert_close(squashed(logits, "log-softmax").exp(), p)
    torch.testing.assert_close(squashed(logits, "sigmoid"), logits.sigmoid())


def test_one_number_is_the_second_of_two_classes() -> None:
    scores = torch.tensor([[-1.0], [2.0]])
    rule = score_rule(scores, is_squashed=False)
    assert rule == ScoreRule("score", 2)
    assert rule(scores).tolist() == [[0.0, -1.0], [0.0, 2.0]]
    rule = score_rule(scores.sigmoid(), is_squashed=False)
    assert rule == ScoreRule("probability", 2)
    torch.testing.assert_close(rule(scores.sigmoid()), torch.tensor([[0.0, -1.0], [0.0, 2.0]]))


def test_a_probability_of_zero_stays_finite() -> None:
    logits = ScoreRule("probabilities", 2)(torch.tensor([[1.0, 0.0]]))
    assert logits.isfinite().all()
    assert logits[0, 1] < -87

"""Which output holds the class scores, and which tensor in front of it the logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from onnx import TensorProto

from robcert.certify.errors import AmbiguousOutputError, ModelFileError

from .graph.facts import dimensions
from .graph.graph import reads
from .graph.layout import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from .graph.facts import GraphFacts
    from .runtime.sandbox import OutputFact

Squashing = Literal["none", "softmax", "log-softmax", "sigmoid"]

_SCORE_TYPES = frozenset({"float16", "float32", "float64", "int8", "uint8"})

_SHAPE_ONLY = frozenset(
    {
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"),
        *("QuantizeLinear", "DequantizeLinear"),
    }
)
"""Operators after a softmax that change the shape or type of the scores, not their meaning."""

_EXACT_TYPES = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})
"""Types that hold every number of float32."""

_INTO_SEQUENCES = frozenset({"ZipMap", "SequenceConstruct", "SequenceInsert", "SplitToSequence"})
"""Operators that put a tensor of scores into a sequence or a map."""

_ONE_BY_ONE = frozenset(
    {
        *("Mul", "Div", "Add", "Sub", "Neg", "Reciprocal"),
        *("Log", "Exp", "Sqrt", "Tanh", "Clip", "Relu"),
    }
)
"""Further operators that give each score, with a number, a number of its own."""

_SQUASHING: dict[str, Squashing] = {
    "Softmax": "softmax",
    "LogSoftmax": "log-softmax",
    "QLinearSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    "QLinearSigmoid": "sigmoid",
}


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the logits are.

    Attributes:
        tensor: the tensor to read.
        squashing: what follows it on the way to the declared output.
        node: name of that node.
        quantised: whether the tensor holds integers with a scale.
        reorders: why the declared output may have another class than the tensor where float32 keeps
            its numbers apart, in words; empty if it cannot.
    """

    tensor: str
    squashing: Squashing = "none"
    node: str = ""
    quantised: bool = False
    reorders: str = ""

    def describe(self) -> str:
        """Where the logits are read, as text."""
        if self.squashing == "none":
            return "logits"
        name = {"softmax": "Softmax", "log-softmax": "LogSoftmax", "sigmoid": "Sigmoid"}
        return f"input of {name[self.squashing]} node {self.node!r}"


def score_count(fact: OutputFact, batch: int) -> int:
    """Number of class scores per image in an output; 0 if it holds none.

    Scores are numbers with one axis besides the batch; axes of length 1 do not count. An output
    with the batch axis alone, or without any, is one score: that of a binary classifier.
    """
    if fact.dtype not in _SCORE_TYPES:
        return 0
    rest = fact.shape[1:] if fact.shape[:1] == (batch,) else fact.shape
    if sum(size > 1 for size in rest) > 1:
        return 0
    return math.prod(rest)


def choose_output(
    path: object,
    model: onnx.ModelProto,
    outputs: Mapping[str, OutputFact],
    facts: GraphFacts,
    *,
    requested: str | None = None,
    first: bool = False,
) -> str:
    """Name of the output with the class scores.

    An output that another candidate depends on is an intermediate result if the two have different
    numbers of entries; of as many entries, either may be the scores, which must then be chosen.
    Outputs that are computed from the same logits by a softmax or sigmoid count as one. The values
    of TopK are sorted and never class scores.

    Args:
        path: the file, for messages.
        model: its graph.
        outputs: type and shape of each output on one image.
        facts: what is known about the graph.
        requested: output that the user named.
        first: take the first of several candidates.

    Raises:
        ModelFileError: there is no candidate.
        AmbiguousOutputError: there are several and ``first`` is not set; it names them.
    """
    batch = facts.declared_batch or 1
    scores = {name: score_count(fact, batch) for name, fact in outputs.items()}
    candidates = [name for name, count in scores.items() if count]
    if scored := [name for name in candidates if not sorted_by(model, name)]:
        candidates = scored
    elif candidates:
        source = sorted_by(model, candidates[0])
        message = (
            f"{path}: output {candidates[0]!r} holds sorted scores, "
            "not the scores of the classes in their order"
        )
        raise ModelFileError(message, hint=f"what TopK reads may be them: --output {source}")
    if not candidates:
        message = (
            f"{path} is not an image classifier: no float tensor of class scores among its "
            f"outputs {_list(outputs)}{_several_inputs(facts)}"
        )
        raise ModelFileError(message, hint=inside_hint(model, outputs, requested))
    if len(candidates) == 1:
        return candidates[0]
    several = [name for name in candidates if scores[name] > 1] or candidates
    before = {name: ancestors(model, name) for name in several}

    def intermediate(name: str, other: str) -> bool:
        """Whether ``other`` is computed from ``name``, which has another number of entries."""
        return name in before[other] and scores[name] != scores[other]

    final = [n for n in several if not any(intermediate(n, other) for other in several)]
    if first or len({logits_behind(model, name).tensor for name in final}) == 1:
        return final[0]
    message = f"{path} has several outputs that could be the class scores: {', '.join(final)}"
    hint = f"choose one, for instance: --output {final[0]}"
    raise AmbiguousOutputError(message, choices=tuple(final), hint=hint)


def logits_behind(model: onnx.ModelProto, output: str) -> Cut:
    """The tensor before a final Softmax, LogSoftmax or Sigmoid; ``output`` itself without one."""
    made_by = {name: node for node in model.graph.node for name in node.output if name}
    name, reorders = output, ""
    logarithm = False
    while (node := made_by.get(name)) is not None:
        label = node.name or node.output[0]
        if node.op_type in _SQUASHING:
            kind = _SQUASHING[node.op_type]
            if logarithm and kind != "softmax":
                break
            quantised = node.op_type.startswith("QLinear")
            kind = "log-softmax" if logarithm else kind
            return Cut(node.input[0], kind, label, quantised, reorders)
        if node.op_type == "Div" and (numerator := _softmax_numerator(node, made_by)):
            kind = "log-softmax" if logarithm else "softmax"
            if not _is_at_most_0(made_by.get(numerator), made_by):
                reorders = f"the exponentials of its softmax {label!r} may all overflow or vanish"
            return Cut(numerator, kind, label, reorders=reorders)
        if _rounds(node):
            reorders = f"node {label!r} ({node.op_type}) rounds its scores, and near ones are one"
        if node.op_type == "Log" and not logarithm:
            logarithm = True
        elif node.op_type not in _SHAPE_ONLY:
            break
        name = node.input[0]
    return Cut(output)


def sorted_by(model: onnx.ModelProto, output: str) -> str:
    """What TopK sorts, if ``output`` holds the values of a TopK, whatever follows; else empty.

    What may follow gives each score a number of its own, so that it stays at its place.
    """
    chain = _one_by_one(model, output)
    if chain and chain[-1].op_type == "TopK":
        last = chain[-2].input if len(chain) > 1 else [output]
        return str(chain[-1].input[0]) if chain[-1].output[0] in last else ""
    return ""


def are_sigmoids(model: onnx.ModelProto, output: str) -> bool:
    """Whether ``output`` is a sigmoid of each score, also one written out.

    What may follow gives each score a number of its own. A softmax, which may follow too, gives the
    image one class again.
    """
    operators = [node.op_type for node in _one_by_one(model, output)]
    squashing = next((_SQUASHING[name] for name in operators if name in _SQUASHING), "none")
    written = zip(operators, operators[1:], operators[2:], strict=False)
    forms = {("Div", "Add", "Exp"), ("Reciprocal", "Add", "Exp")}
    return squashing == "sigmoid" or (squashing == "none" and any(map(forms.__contains__, written)))


def _one_by_one(model: onnx.ModelProto, output: str) -> list[onnx.NodeProto]:
    """The nodes behind ``output``, the last first, while each score comes of one score.

    The first node that makes scores of several others, or of none, ends the list.
    """
    nodes = model.graph.node
    made_by = {name: node for node in nodes for name in node.output if name}
    single = {t.name for t in model.graph.initializer if math.prod(t.dims) == 1}
    single |= {node.output[0] for node in nodes if node.op_type == "Constant" and _is_single(node)}
    found: list[onnx.NodeProto] = []
    name = output
    while (node := made_by.get(name)) is not None:
        found.append(node)
        scores = [read for read in node.input if read and read not in single]
        if node.op_type in _SHAPE_ONLY | _SQUASHING.keys() | {"Slice"}:
            scores = [node.input[0]]
        elif node.op_type not in _ONE_BY_ONE or len(scores) != 1:
            break
        name = scores[0]
    return found


def _is_single(node: onnx.NodeProto) -> bool:
    """Whether a node Constant gives one number."""
    return any(a.name in {"value_float", "value_int"} for a in node.attribute) or any(
        math.prod(a.t.dims) == 1 for a in node.attribute if a.name == "value"
    )


def ancestors(model: onnx.ModelProto, output: str) -> set[str]:
    """Names of all tensors that ``output`` depends on, without itself."""
    made_by = {name: node for node in model.graph.node for name in node.output if name}
    found: set[str] = set()
    pending = [output]
    while pending:
        node = made_by.get(pending.pop())
        fresh = [] if node is None else [name for name in reads(node) if name not in found]
        found.update(fresh)
        pending.extend(fresh)
    return found


def _softmax_numerator(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> str:
    """The tensor z if ``node`` computes exp(z) / sum(exp(z)); empty for any other division."""
    top, bottom = (made_by.get(name) for name in node.input)
    written_out = (
        top is not None
        and bottom is not None
        and top.op_type == "Exp"
        and bottom.op_type == "ReduceSum"
        and bottom.input[0] == top.output[0]
    )
    return top.input[0] if written_out and top is not None else ""


def _is_at_most_0(node: onnx.NodeProto | None, made_by: dict[str, onnx.NodeProto]) -> bool:
    """Whether ``node`` takes the largest of its numbers off: one exponential is 1."""
    if node is None or node.op_type != "Sub":
        return False
    largest = made_by.get(node.input[1])
    return (
        largest is not None and largest.op_type == "ReduceMax" and largest.input[0] == node.input[0]
    )


def _rounds(node: onnx.NodeProto) -> bool:
    """Whether ``node`` may give different numbers of float32 as one."""
    if node.op_type == "Cast":
        return next((a.i for a in node.attribute if a.name == "to"), 0) not in _EXACT_TYPES
    return node.op_type in {"QuantizeLinear", "DequantizeLinear"}


def _list(outputs: Mapping[str, OutputFact]) -> str:
    return ", ".join(f"{name} ({one.dtype} {shown(one.shape)})" for name, one in outputs.items())


def _several_inputs(facts: GraphFacts) -> str:
    """Addition to a refusal: a model with several inputs is often a training graph."""
    if len(facts.inputs) < 2:
        return ""
    names = ", ".join(f"{entry.name} {shown(dimensions(entry))}" for entry in facts.inputs)
    return f"; it has {len(facts.inputs)} inputs: {names}"


def inside_hint(
    model: onnx.ModelProto, outputs: Mapping[str, OutputFact], requested: str | None
) -> str:
    """Tensors inside the graph that may be the scores: inputs of a final Softmax or ArgMax."""
    if requested is not None:
        return ""
    reachable = set().union(*(ancestors(model, name) for name in outputs))
    reachable -= {entry.name for entry in model.graph.input}
    reachable -= {tensor.name for tensor in model.graph.initializer}
    likely = [
        name
        for node in model.graph.node
        if node.op_type in _INTO_SEQUENCES
        for name in node.input
        if name in reachable
    ]
    likely += [
        node.input[0]
        for node in model.graph.node
        if node.op_type in {"ArgMax", "TopK", *_SQUASHING} and node.input[0] in reachable
    ]
    if not likely:
        return ""
    names = ", ".join(dict.fromkeys(likely))
    return f"if a tensor inside the graph holds them, pass --output NAME; candidates: {names}"

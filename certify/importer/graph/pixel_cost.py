"""Nodes whose time or memory may depend on the pixels, not only on the size of the image.

The trial of a file measures what one black image costs. Every other image costs the same unless a
number of iterations, a branch or the size of a tensor is computed from pixels. This module finds
the nodes where that may be so; an operator that it does not know counts as one.

This module is imported by the child process that tries an untrusted file: it must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from .facts import LOOPS, all_graphs
from .graph import inline_functions

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZED = {
    **dict.fromkeys(("Reshape", "Expand", "OneHot", "TopK", "Split", "Upsample", "Squeeze"), (1,)),
    **dict.fromkeys(("Unsqueeze", "CenterCropPad", "AffineGrid", "SplitToSequence"), (1,)),
    **dict.fromkeys(("SequenceAt", "SequenceErase", "RoiAlign"), (1,)),
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("Tile", "Col2Im", "DFT"), (1, 2)),
    **dict.fromkeys(("Resize", "STFT"), (1, 2, 3)),
    "Pad": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Range": (0, 1, 2),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "MaxUnpool": (2,),
    "SequenceInsert": (2,),
    **dict.fromkeys(
        (
            *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"),
            *("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
        ),
        (1,),
    ),
}
"""Inputs whose values determine the size of an output, or the amount of work, by position."""

COUNTING = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression", "StringSplit"})
"""Operators whose output has as many entries as the values of any input say."""

SHAPE_READERS = frozenset({"Shape", "Size", "SequenceLength"})
"""Operators that read the size of a tensor, not its values."""

FOREIGN = frozenset({"ImageDecoder"})
"""Operators of the standard whose output may have any size, whatever the input."""

STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
"""Domains whose operators are covered by the tables above."""

CONTRIBUTED = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearMul", "QLinearSigmoid"),
        *("QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax"),
        *("QLinearConcat", "QLinearConv", "QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"),
        *("Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedConv", "FusedGemm", "FusedMatMul"),
        *("LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization"),
        *("Attention", "MultiHeadAttention", "GroupNorm", "NhwcMaxPool", "Inverse", "NhwcConv"),
        *("EmbedLayerNormalization", "QAttention", "QLinearReduceMean", "QLinearWhere"),
    }
)
"""Operators of ``com.microsoft`` whose output has a size that does not depend on values."""


PASSES = 50
"""Looks at every node after which the search stops. Nodes stand behind those that they read
from, so that one look finds all, and one more for every loop inside a loop."""


@dataclass(frozen=True, slots=True)
class PixelCost:
    """Where the cost of a graph may depend on the pixels.

    Attributes:
        repeated: nodes whose number of iterations may.
        chosen: nodes that choose a branch by pixels.
        sized: nodes of an output whose size may.
        unknown: nodes of an operator about which nothing is known.
    """

    repeated: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    sized: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: onnx.ModelProto) -> PixelCost:
        """Facts about ``model``, all of whose inputs take pixels."""
        whole = inline_functions(model)
        stored = {tensor.name for tensor in whole.graph.initializer}
        flow = _Flow({entry.name for entry in whole.graph.input} - stored)
        graphs = list(all_graphs(whole))
        if all(flow.grows(graphs) for _ in range(PASSES)):
            return cls(unknown=("a graph whose nodes are in no order",))
        return cls(
            **{kind: flow.labels(kind) for kind in ("repeated", "chosen", "sized", "unknown")}
        )

    @property
    def fixed(self) -> bool:
        """Whether every image of one size costs the same."""
        return not (self.repeated or self.chosen or self.sized or self.unknown)

    @property
    def unlimited(self) -> bool:
        """Whether an image may cost any multiple of another one."""
        return bool(self.repeated or self.sized or self.unknown)

    @property
    def reason(self) -> str:
        """Why it may differ, with the first node of the gravest kind; empty if it does not."""
        for nodes, why in (
            (self.repeated, "the pixels determine how often {} repeats"),
            (self.sized, "the pixels determine the size of the output of {}"),
            (self.unknown, "nothing is known about the cost of {}"),
            (self.chosen, "the pixels determine which branch {} takes"),
        ):
            if nodes:
                return why.format(nodes[0])
        return ""


class _Flow:
    """Which tensors, and whose sizes, depend on the pixels; names count across all subgraphs.

    Attributes:
        values: tensors whose values depend on the pixels.
        sizes: tensors whose size does.
        found: kind of each node of interest, by its label.
    """

    def __init__(self, inputs: set[str]) -> None:
        self.values, self.sizes = set(inputs), set[str]()
        self.found: dict[str, str] = {}

    def grows(self, graphs: Sequence[onnx.GraphProto | onnx.FunctionProto]) -> bool:
        """Apply the rules to every node once; whether that found more. Nodes may be unordered."""
        before = len(self.values) + len(self.sizes)
        for graph in graphs:
            for node in graph.node:
                self._visit(node)
        return len(self.values) + len(self.sizes) > before

    def labels(self, kind: str) -> tuple[str, ...]:
        """Labels of the nodes of one kind, in the order in which they were found."""
        return tuple(label for label, found in self.found.items() if found == kind)

    def _visit(self, node: onnx.NodeProto) -> None:
        standard = node.domain in STANDARD
        if standard and node.op_type in LOOPS:
            self._loop(node)
        elif standard and node.op_type == "If":
            self._choice(node)
        elif standard and node.op_type in SHAPE_READERS:
            if self._sizes(node.input):
                self.values.update(node.output)
        else:
            self._plain(node, self._kind(node))
        self.values.discard("")
        self.sizes.discard("")

    def _plain(self, node: onnx.NodeProto, kind: str) -> None:
        """A node without a graph of its own."""
        if self._values(node.input) and node.op_type != "ConstantOfShape":
            self.values.update(node.output)
        if self._sizes(node.input):
            self.sizes.update(node.output)
        if kind:
            self._enter(node, kind)

    def _kind(self, node: onnx.NodeProto) -> str:
        """Why the size of an output may depend on pixels; empty if it does not."""
        if not _known(node):
            return "unknown" if self._values(node.input) or self._sizes(node.input) else ""
        if node.domain not in STANDARD:
            return ""
        if node.op_type in COUNTING:
            return "sized" if self._values(node.input) else ""
        wanted = [node.input[at] for at in SIZED.get(node.op_type, ()) if at < len(node.input)]
        return "sized" if self._values(wanted) else ""

    def _choice(self, node: onnx.NodeProto) -> None:
        """If: its outputs are those of one of its branches."""
        for attribute in node.attribute:
            self._link([entry.name for entry in attribute.g.output], node.output)
        if self._values(node.input):
            self._enter(node, "chosen")

    def _loop(self, node: onnx.NodeProto) -> None:
        """Loop, Scan or SequenceMap, whose graph reads what it wrote in the iteration before."""
        for attribute in node.attribute:
            if not attribute.HasField("g"):
                continue
            inside = [entry.name for entry in attribute.g.input]
            outside = [entry.name for entry in attribute.g.output]
            if node.op_type == "Loop":  # inputs: how often, whether at all, then the state
                for sources, targets in (
                    (node.input[1:], inside[1:]),
                    (outside, inside[1:]),
                    (outside[1:], node.output),
                ):
                    self._link(sources, targets)
                by_pixels = self._values([*node.input[:2], *outside[:1]])
            else:  # as often as its inputs have entries
                for names in (node.input, outside):
                    self._spread(names, [*inside, *node.output])
                by_pixels = self._sizes(node.input)
            if by_pixels:
                self._enter(node, "repeated")

    def _link(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        """Each target depends on the source at its position."""
        for source, target in zip(sources, targets, strict=False):
            self._spread([source], [target])

    def _spread(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        """Every target depends on every source."""
        if self._values(sources):
            self.values.update(targets)
        if self._sizes(sources):
            self.sizes.update(targets)

    def _enter(self, node: onnx.NodeProto, kind: str) -> None:
        """Note the node; nothing is known about its outputs."""
        name = node.name or next(iter(node.output), "")
        self.found[f"{node.op_type} {name!r}"] = kind
        self.values.update(node.output)
        self.sizes.update(node.output)

    def _values(self, names: Sequence[str]) -> bool:
        return not self.values.isdisjoint(names)

    def _sizes(self, names: Sequence[str]) -> bool:
        return not self.sizes.isdisjoint(names)


def _known(node: onnx.NodeProto) -> bool:
    """Whether the tables say how an output's size comes about."""
    if node.domain == "com.microsoft":
        return node.op_type in CONTRIBUTED
    if node.domain not in STANDARD or node.op_type in FOREIGN:
        return False
    return node.domain.startswith("com.") or onnx.defs.has(node.op_type, domain=_schema(node))


def _schema(node: onnx.NodeProto) -> str:
    return "" if node.domain == "ai.onnx" else node.domain

"""Changes of an ONNX model's fields, each of which a damaged or hostile file may hold."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper

from .base_models import node

Change = Callable[[ModelProto, random.Random, Path], None]

SIZES = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 7, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
FLOATS = (0.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
OPERATORS = (
    *("Loop", "If", "Scan", "Reshape", "Expand", "Tile", "ConstantOfShape", "NonZero", "Range"),
    *("Resize", "Upsample", "Pad", "Gather", "GatherND", "ScatterND", "OneHot", "TopK", "Split"),
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "MaxUnpool", "LSTM", "GRU", "Einsum"),
    *("SequenceConstruct", "SequenceAt", "Optional", "StringNormalizer", "TfIdfVectorizer"),
    *("Cast", "QuantizeLinear", "DynamicQuantizeLinear", "NonMaxSuppression", "RoiAlign"),
    *("Squeeze", "Unsqueeze", "Transpose", "Slice", "Concat", "Identity", "Dropout", "Mod", "Div"),
    *("Softmax", "ArgMax", "CumSum", "Det", "EyeLike", "GridSample", "ImageDecoder", "DFT"),
    *("BitShift", "Shape", "Size", "Compress", "Unique", "RandomNormal", "Multinomial", "Nonsense"),
)
TEXTS = (
    *("", "x", "y", "\x00", "a" * 100_000, "../../etc/passwd", "\x1b]0;title\x07", "\u202etxt"),
    *("$\\frac{", "[/red]", "{0}", "%s%n", "<script>alert(1)</script>", "a\rb\nc", "😀", "CON"),
)
PLACES = (
    *("/etc/passwd", "../outside.bin", "", ".", "missing.bin", "/dev/zero", "link.bin", "pipe"),
    *("model.onnx", "a\0b", "a" * 5000, "file:///etc/passwd", "weights.bin"),
)
METADATA = (
    *("{", "null", "[]", "[" * 100_000, '{"range": [1e999, -1e999]}', '{"mean": [NaN]}'),
    *('{"std": [0]}', '{"std": "x"}', '{"layout": []}', '{"input_shape": [99999999999]}'),
    *('{"dtype": "object"}', '{"range": [0, 1, 2]}', '{"mean": [1e400]}', '{"a": 1}'),
    *('{"range": null}', '{"channels": 7}', '{"input_shape": [-1]}', '{"mean": [[1]]}', "9" * 9999),
    *('{"mean": {"a": 1}}', '{"layout": "flat"}', '{"flatten": "z"}', '{"std": [true]}'),
)


def graphs(model: ModelProto) -> list[onnx.GraphProto]:
    """The graph and every subgraph of its nodes."""
    found = [model.graph]
    for graph in found:
        for one in graph.node:
            found += [a.g for a in one.attribute if a.HasField("g")]
    return found


def a_graph(model: ModelProto, source: random.Random) -> onnx.GraphProto:
    """A graph with nodes; the outer one more often."""
    return source.choice([model.graph, *(g for g in graphs(model) if g.node)])


def a_node(model: ModelProto, source: random.Random) -> onnx.NodeProto:
    graph = a_graph(model, source)
    return source.choice(graph.node) if graph.node else graph.node.add(op_type="Identity")


def a_tensor(model: ModelProto, source: random.Random) -> TensorProto:
    tensors = [t for g in graphs(model) for t in g.initializer]
    return source.choice(tensors) if tensors else model.graph.initializer.add(name="new")


def input_shape(model: ModelProto, source: random.Random, _: Path) -> None:
    entry = source.choice([*model.graph.input, *model.graph.output])
    shape = entry.type.tensor_type.shape
    match source.randrange(4):
        case 0:
            shape.dim.add(dim_value=source.choice(SIZES))
        case 1 if shape.dim:
            del shape.dim[source.randrange(len(shape.dim))]
        case 2:
            entry.type.tensor_type.ClearField("shape")
        case _ if shape.dim:
            axis = source.choice(shape.dim)
            if source.random() < 0.7:
                axis.dim_value = source.choice(SIZES)
            else:
                axis.dim_param = source.choice(TEXTS)


def input_type(model: ModelProto, source: random.Random, _: Path) -> None:
    entry = source.choice([*model.graph.input, *model.graph.output])
    match source.randrange(4):
        case 0:
            kind = entry.type.sequence_type.elem_type.tensor_type
            kind.elem_type = TensorProto.FLOAT
        case 1:
            entry.type.optional_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
        case _:
            entry.type.tensor_type.elem_type = source.randrange(30)


def tensor_shape(model: ModelProto, source: random.Random, _: Path) -> None:
    tensor = a_tensor(model, source)
    if tensor.dims and source.random() < 0.6:
        tensor.dims[source.randrange(len(tensor.dims))] = source.choice(SIZES)
    elif source.random() < 0.5:
        tensor.dims.append(source.choice(SIZES))
    else:
        tensor.dims[:] = [source.choice(SIZES) for _ in range(source.randrange(5))]


def tensor_type(model: ModelProto, source: random.Random, _: Path) -> None:
    tensor = a_tensor(model, source)
    tensor.data_type = source.choice((*range(27), 99, -1))
    if tensor.data_type == TensorProto.STRING and source.random() < 0.7:
        tensor.ClearField("raw_data")
        tensor.string_data.extend([b"text"] * min(1000, max(1, abs(sum(tensor.dims)))))


def tensor_data(model: ModelProto, source: random.Random, _: Path) -> None:
    tensor = a_tensor(model, source)
    match source.randrange(5):
        case 0:
            tensor.raw_data = tensor.raw_data[: source.randrange(len(tensor.raw_data) + 1)]
        case 1:
            tensor.raw_data = tensor.raw_data + bytes(source.randrange(1, 5000))
        case 2:
            tensor.float_data.extend([1.0] * source.randrange(1, 100))
        case 3:
            tensor.raw_data = source.randbytes(len(tensor.raw_data))
        case _:
            tensor.segment.begin, tensor.segment.end = 0, 2**40


def attribute_value(model: ModelProto, source: random.Random, _: Path) -> None:
    attributes = [a for g in graphs(model) for n in g.node for a in n.attribute]
    if not attributes:
        a_node(model, source).attribute.append(helper.make_attribute("axis", source.choice(SIZES)))
        return
    one = source.choice(attributes)
    if one.type == AttributeProto.INT:
        one.i = source.choice(SIZES)
    elif one.type == AttributeProto.FLOAT:
        one.f = source.choice(FLOATS)
    elif one.type == AttributeProto.STRING:
        one.s = source.choice(TEXTS).encode("utf-8", "surrogatepass") or b"\xff\xfe"
    elif one.type == AttributeProto.INTS and one.ints:
        one.ints[source.randrange(len(one.ints))] = source.choice(SIZES)
    else:
        one.type = source.randrange(15)


def attribute_kind(model: ModelProto, source: random.Random, _: Path) -> None:
    one = a_node(model, source)
    if one.attribute and source.random() < 0.5:
        changed = source.choice(one.attribute)
        match source.randrange(3):
            case 0:
                changed.type = source.randrange(15)
            case 1:
                one.attribute.append(changed)
            case _:
                one.attribute.remove(changed)
        return
    name = source.choice(("axis", "to", "mode", "body", "kernel_shape", "training_mode", "value"))
    value = source.choice((1, -1, 2**62, 0.5, "text", [1, 2], ["a"], [2**62] * 4))
    one.attribute.append(helper.make_attribute(name, value))


def operator(model: ModelProto, source: random.Random, _: Path) -> None:
    one = a_node(model, source)
    one.op_type = source.choice(OPERATORS)
    if source.random() < 0.1:
        one.domain = source.choice(("com.microsoft", "ai.onnx.ml", "own", "x" * 10_000, "\x1b[2J"))


def wiring(model: ModelProto, source: random.Random, _: Path) -> None:
    graph = a_graph(model, source)
    names = [name for n in graph.node for name in (*n.input, *n.output)] or ["x"]
    one = a_node(model, source)
    names += ["", "nowhere", "x", "y"]
    match source.randrange(4):
        case 0 if one.input:
            one.input[source.randrange(len(one.input))] = source.choice(names)
        case 1 if one.output:
            one.output[source.randrange(len(one.output))] = source.choice(names)
        case 2:
            one.input.extend([source.choice(names)] * source.choice((1, 3, 1000)))
        case _:
            one.output.append(source.choice(names))


def nodes(model: ModelProto, source: random.Random, _: Path) -> None:
    graph = a_graph(model, source)
    if not graph.node:
        return
    place = source.randrange(len(graph.node))
    match source.randrange(4):
        case 0:
            del graph.node[place]
        case 1:
            graph.node.append(graph.node[place])
        case 2:
            kept = list(graph.node)
            source.shuffle(kept)
            del graph.node[:]
            graph.node.extend(kept)
        case _:
            del graph.node[:]


def names(model: ModelProto, source: random.Random, _: Path) -> None:
    text = source.choice(TEXTS)
    one = a_node(model, source)
    match source.randrange(6):
        case 0:
            one.name = text
        case 1 if one.output:
            old = one.output[0]
            for reader in (n for g in graphs(model) for n in g.node):
                reader.input[:] = [text if name == old else name for name in reader.input]
            one.output[0] = text
        case 2:
            model.producer_name = model.producer_version = text
        case 3:
            model.graph.name = model.doc_string = text
        case 4:
            model.graph.input[0].name = text
        case _:
            model.graph.output[0].name = text


def versions(model: ModelProto, source: random.Random, _: Path) -> None:
    match source.randrange(4):
        case 0:
            model.ir_version = source.choice((*SIZES, 3, 4, 10, 11, 12, 13))
        case 1 if model.opset_import:
            model.opset_import[0].version = source.choice((*SIZES, 6, 9, 12, 18, 22, 26))
        case 2:
            model.opset_import.append(helper.make_opsetid("", source.choice((1, 9, 13, 99))))
        case _:
            del model.opset_import[:]


def external_data(model: ModelProto, source: random.Random, folder: Path) -> None:
    tensor = a_tensor(model, source)
    content = tensor.raw_data or b"\0" * 16
    (folder / "weights.bin").write_bytes(content)
    (folder / "link.bin").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": source.choice(PLACES)}
    if source.random() < 0.6:
        key = source.choice(("offset", "length"))
        entries[key] = source.choice((*map(str, SIZES), "x", "", "1e3", "9" * 5000, "0x10", "١"))
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def huge_constant(model: ModelProto, source: random.Random, _: Path) -> None:
    """A node that makes or copies a tensor of any size, added to the scores."""
    sizes = [source.choice((2**10, 2**20, 2**31, 2**40)) for _ in range(source.choice((1, 2, 4)))]
    model.graph.initializer.append(
        helper.make_tensor("sizes", TensorProto.INT64, [len(sizes)], sizes)
    )
    one = helper.make_tensor("one", TensorProto.FLOAT, [1] * len(sizes), [1.0])
    model.graph.initializer.append(one)
    maker = source.choice(
        (
            node("ConstantOfShape", "sizes", "huge"),
            node("Expand", "one sizes", "huge"),
            node("Tile", "one sizes", "huge"),
            node("RandomNormal", "", "huge", shape=sizes),
        )
    )
    _to_scores(model, [maker, node("ReduceSum", "huge", "sum", keepdims=0)], "sum")


def _to_scores(model: ModelProto, added: list[onnx.NodeProto], name: str) -> None:
    """Add the tensor ``name`` that the nodes ``added`` make to the first output."""
    graph = model.graph
    output = graph.output[0].name
    inner = f"scores_before_{name}"
    for one in graph.node:
        one.output[:] = [inner if made == output else made for made in one.output]
    last = node("Add", f"{inner} {name}", output)
    last.name = f"add_{name}"
    graph.node.extend([*added, last])


def long_loop(model: ModelProto, source: random.Random, _: Path) -> None:
    """A loop of many rounds, over a number or a tensor that grows."""
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("before_it", TensorProto.FLOAT, None),
    ]
    outputs = [
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
    ]
    grows = source.random() < 0.5
    step = "Concat" if grows else "Add"
    extra = {"axis": 0} if grows else {}
    inside = [node("Identity", "go", "go_on"), node(step, "before_it before_it", "after", **extra)]
    body = helper.make_graph(inside, "body", inputs, outputs)
    rounds = source.choice((10, 40, 10**5, 2**62))
    model.graph.initializer.extend(
        [
            helper.make_tensor("rounds", TensorProto.INT64, [], [rounds]),
            helper.make_tensor("true", TensorProto.BOOL, [], [True]),
            helper.make_tensor("start", TensorProto.FLOAT, [1], [0.0]),
        ]
    )
    loop = node("Loop", "rounds true start", "grown", body=body)
    _to_scores(model, [loop, node("ReduceSum", "grown", "sum", keepdims=0)], "sum")


def deep_subgraphs(model: ModelProto, source: random.Random, _: Path) -> None:
    """An `If` in an `If` in an `If`, as deep as protobuf can hold, or deeper."""
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    inner = helper.make_graph([node("Identity", "start", "inner")], "deepest", [], [output])
    for _depth in range(source.choice((3, 20, 40))):
        branch = node("If", "true", "inner", then_branch=inner, else_branch=inner)
        inner = helper.make_graph([branch], "level", [], [output])
        if inner.ByteSize() > 2**20:
            break
    model.graph.initializer.extend(
        [
            helper.make_tensor("true", TensorProto.BOOL, [], [True]),
            helper.make_tensor("start", TensorProto.FLOAT, [1], [0.0]),
        ]
    )
    _to_scores(model, [node("If", "true", "deep", then_branch=inner, else_branch=inner)], "deep")


def functions(model: ModelProto, source: random.Random, _: Path) -> None:
    """A function that calls itself, two that call each other, or one that lacks its inputs."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    other = source.choice(("F", "G"))
    called = node(other, "a", "b", domain="own")
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], [called], opsets))
    back = [node("F", "a", "b", domain="own")]
    model.functions.append(helper.make_function("own", "G", ["a"], ["b"], back, opsets))
    if not any(entry.domain == "own" for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.initializer.append(helper.make_tensor("start", TensorProto.FLOAT, [1], [0.0]))
    _to_scores(model, [node("F", "start", "of_own", domain="own")], "of_own")


def metadata(model: ModelProto, source: random.Random, _: Path) -> None:
    key = source.choice(("robcert.preprocess", "robcert.provenance", "robcert.data", "a\x1b[2J"))
    value = source.choice((*METADATA, *TEXTS))
    if source.random() < 0.3:
        value = json.dumps({source.choice(("range", "mean", "std")): source.choice(FLOATS)})
    model.metadata_props.add(key=key, value=value)


def sparse(model: ModelProto, source: random.Random, _: Path) -> None:
    tensor = model.graph.sparse_initializer.add()
    tensor.values.name, tensor.values.data_type = "w", TensorProto.FLOAT
    tensor.values.float_data.append(1.0)
    tensor.values.dims.append(1)
    tensor.indices.data_type = TensorProto.INT64
    tensor.indices.int64_data.append(source.choice(SIZES))
    tensor.indices.dims.append(1)
    tensor.dims.extend([source.choice(SIZES), 3])


CHANGES: dict[str, Change] = {
    change.__name__.replace("_", " "): change
    for change in (
        *(input_shape, input_type, tensor_shape, tensor_type, tensor_data, attribute_value),
        *(attribute_kind, operator, wiring, nodes, names, versions, external_data, huge_constant),
        *(long_loop, deep_subgraphs, functions, metadata, sparse),
    )
}

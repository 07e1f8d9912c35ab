"""Which graphs cost the same for every image, and which may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper
from onnx_models import linear, model, node
from pixel_costs import COSTLY, slow

from robcert.certify.importer.graph.facts import LOOPS
from robcert.certify.importer.graph.graph_edits import with_free_batch
from robcert.certify.importer.graph.pixel_cost import (
    COUNTING,
    FOREIGN,
    PASSES,
    SIZED,
    PixelCost,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

INT, FLOAT = TensorProto.INT64, TensorProto.FLOAT


def cost(nodes: Sequence[NodeProto], **stored: Any) -> PixelCost:
    """Of a graph with the input x; ``stored`` are its initialisers."""
    used = {name for part in nodes for name in part.input}
    kept = {name: np.array(value) for name, value in stored.items() if name in used}
    last = nodes[-1].output[0]
    return PixelCost.of(
        model(nodes, inputs={"x": ("n", 3, 4, 4)}, outputs={last: None}, weights=kept)
    )


WHOLE = node("Cast", "x", "i", to=INT)
BY_SIZE = [node("Shape", "x", "s"), node("ReduceProd", "s", "count", keepdims=0)]


@pytest.mark.parametrize("name", COSTLY)
def test_models_of_unlimited_cost_are_found(name: str) -> None:
    found = PixelCost.of(COSTLY[name]())
    assert not found.fixed
    assert found.unlimited == (name != "branching")
    assert found.reason.startswith("the pixels determine")


def test_the_reason_names_the_node() -> None:
    assert PixelCost.of(COSTLY["counting"]()).repeated == ("Loop 'loop'",)
    assert PixelCost.of(COSTLY["growing"]()).sized[0] == "Expand 'large_node'"
    assert PixelCost.of(COSTLY["listing"]()).sized[0] == "ConstantOfShape 'ones_node'"
    assert PixelCost.of(COSTLY["branching"]()).chosen == ("If 'more_node'",)


def test_ordinary_graphs_have_a_fixed_cost() -> None:
    for made in (linear(), slow(), with_free_batch(linear((1, 3, 4, 4)), "x")):
        assert PixelCost.of(made) == PixelCost()
        assert PixelCost.of(made).reason == ""


SIZED_BY_PIXELS = {
    "Expand": node("Expand", "one i", "y"),
    "Tile": node("Tile", "one i", "y"),
    "Reshape": node("Reshape", "x i", "y"),
    "ConstantOfShape": node("ConstantOfShape", "i", "y"),
    "Range": node("Range", "zero i step", "y"),
    "Slice": node("Slice", "x zero i", "y"),
    "Pad": node("Pad", "x i", "y"),
    "Resize by scales": node("Resize", "x  x", "y"),
    "OneHot": node("OneHot", "one i two", "y"),
    "TopK": node("TopK", "x i", "y place"),
    "NonZero": node("NonZero", "x", "y"),
    "Unique": node("Unique", "x", "y"),
    "Compress": node("Compress", "one i", "y"),
    "Split": node("Split", "x i", "y z"),
    "HannWindow": node("HannWindow", "i", "y"),
    "RoiAlign": node("RoiAlign", "x x zero", "y"),
}


@pytest.mark.parametrize("name", SIZED_BY_PIXELS)
def test_a_size_that_is_computed_from_pixels_is_found(name: str) -> None:
    found = cost([WHOLE, SIZED_BY_PIXELS[name]], one=[1], zero=[0], step=[1], two=[0, 1])
    assert found.sized == (f"{name.split()[0]} 'y_node'",)


FIXED = {
    "Expand to the size of the input": [*BY_SIZE, node("Expand", "one s", "y")],
    "Range to the size of the input": [*BY_SIZE, node("Range", "zero count step", "y")],
    "Tile by a constant": [node("Tile", "x often", "y")],
    "NonZero of a constant": [node("NonZero", "one", "at"), node("Gather", "x at", "y")],
    "pixels made larger by a fixed size": [node("Expand", "x often", "y")],
    "Pad by a value of the pixels": [WHOLE, node("Pad", "x often x", "y")],
    "sizes of what pixels index": [
        WHOLE,
        node("Gather", "one i", "g"),
        node("Shape", "g", "s"),
        node("ConstantOfShape", "s", "y"),
    ],
}


@pytest.mark.parametrize("name", FIXED)
def test_sizes_that_depend_on_sizes_and_constants_are_fixed(name: str) -> None:
    found = cost(FIXED[name], one=[1], zero=[0], step=[1], often=[1, 1, 1, 2])
    assert found.fixed, found


def test_a_size_that_follows_from_a_size_by_pixels_is_found() -> None:
    """The second tensor has as many entries as the first, whose number is that of bright pixels."""
    nodes = [
        node("NonZero", "x", "at"),
        node("Shape", "at", "s"),
        node("ConstantOfShape", "s", "y"),
    ]
    assert cost(nodes).sized == ("NonZero 'at_node'", "ConstantOfShape 'y_node'")


def test_nodes_may_be_in_any_order() -> None:
    nodes = [node("Expand", "one i", "y"), WHOLE]
    assert cost(nodes, one=[1]).sized == ("Expand 'y_node'",)


def test_the_search_stops_in_a_long_chain_in_the_wrong_order() -> None:
    """Each look at all nodes finds one more: a search to the end would take the square."""
    chain = [node("Relu", f"a{step}", f"a{step + 1}") for step in range(PASSES + 5)]
    chain.insert(0, node("Identity", "x", "a0"))
    assert cost(chain).fixed
    assert cost([*chain[::-1], node("Relu", f"a{PASSES + 5}", "y")]).unlimited


def loop(inputs: str, body_nodes: Sequence[NodeProto], on: str) -> NodeProto:
    body = helper.make_graph(
        list(body_nodes),
        "body",
        [
            helper.make_tensor_value_info("k", INT, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info(on, TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, None),
        ],
    )
    made = node("Loop", inputs, "y", body=body)
    del made.input[:]
    made.input.extend("" if name == "-" else name for name in inputs.split())
    return made


def test_a_loop_is_fixed_if_neither_its_count_nor_its_condition_is_computed_from_pixels() -> None:
    step = node("Relu", "state", "next")
    still = node("Identity", "go", "on")
    stored = {"times": np.int64(5), "yes": np.bool_(True)}
    assert cost([loop("times yes x", [step, still], "on")], **stored).fixed
    assert cost([*BY_SIZE, loop("count yes x", [step, still], "on")], **stored).fixed
    counted = [WHOLE, node("ReduceMax", "i", "m", keepdims=0)]
    assert cost([*counted, loop("m yes x", [step, still], "on")], **stored).repeated == (
        "Loop 'y_node'",
    )
    bright = [node("ReduceMax", "state", "top", keepdims=0), node("Cast", "top", "on", to=9)]
    assert not cost([loop("times yes x", [step, *bright], "on")], **stored).fixed
    # the condition depends on the pixels from the second iteration on only
    assert not cost([loop("- yes x", [step, *bright], "on")], **stored).fixed


def test_a_scan_is_fixed_unless_the_number_of_its_entries_is_not() -> None:
    body = helper.make_graph(
        [node("Relu", "row", "out")],
        "body",
        [helper.make_tensor_value_info("row", FLOAT, None)],
        [helper.make_tensor_value_info("out", FLOAT, None)],
    )
    scan = node("Scan", "rows", "y", body=body, num_scan_inputs=1)
    assert cost([node("Squeeze", "x axis", "rows"), scan], axis=[0]).fixed
    found = cost([node("NonZero", "x", "at"), node("Cast", "at", "rows", to=FLOAT), scan])
    assert found.repeated == ("Scan 'y_node'",)


def test_an_unknown_operator_on_pixels_counts_as_unlimited() -> None:
    strange = helper.make_node("Strange", ["x"], ["y"], name="s", domain="com.microsoft")
    assert cost([strange]).unknown == ("Strange 's'",)
    assert cost([strange]).unlimited
    gelu = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    assert cost([gelu]).fixed
    assert cost([node("NoSuchOperator", "x", "y")]).unknown == ("NoSuchOperator 'y_node'",)
    on_constant = helper.make_node("Strange", ["one"], ["c"], domain="com.microsoft")
    assert cost([on_constant, node("Add", "x c", "y")], one=[1.0]).fixed


def test_the_body_of_a_function_of_the_file_is_looked_at() -> None:
    function = helper.make_function(
        "own",
        "Grow",
        ["a"],
        ["b"],
        [node("Cast", "a", "n", to=INT), node("ConstantOfShape", "n", "b")],
        [helper.make_opsetid("", 17)],
    )
    call = helper.make_node("Grow", ["x"], ["y"], name="g", domain="own")
    made = model([call], inputs={"x": ("n", 3, 4, 4)}, outputs={"y": None})
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    assert PixelCost.of(made).sized


def test_the_tables_name_operators_and_inputs_of_the_standard() -> None:
    schemas: dict[str, list[Any]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            schemas.setdefault(schema.name, []).append(schema)
    assert {*SIZED, *COUNTING, *FOREIGN, *LOOPS} <= schemas.keys()
    for name, positions in SIZED.items():
        assert max(positions) < max(len(schema.inputs) for schema in schemas[name]), name


SIZE_WORDS = frozenset(
    {
        *("shape", "size", "sizes", "repeats", "tiles", "scales", "pads", "starts", "ends"),
        *("steps", "split", "k", "depth", "limit", "start", "delta", "axes", "output_shape"),
        *("image_shape", "block_shape", "dft_length", "frame_step", "frame_length", "position"),
        *("num_mel_bins", "rois", "window_shape", "output_size"),
    }
)
"""Names that the standard gives to inputs whose values determine a size."""


def test_every_input_that_is_named_after_a_size_is_in_the_table() -> None:
    """So an operator of a later version of the standard is not overlooked."""
    lacking = {
        f"{schema.name} {entry.name}"
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.name not in COUNTING | FOREIGN
        for at, entry in enumerate(schema.inputs)
        if entry.name in SIZE_WORDS and at not in SIZED.get(schema.name, ())
    }
    # regions are clipped to the image; k moves the diagonal of a matrix
    assert lacking == {"MaxRoiPool rois", "Trilu k"}

"""The page docs/operators.md: what the twin's operators are and how each was checked.

Written anew by ``python -m onnx_cases.listing`` in the folder ``tests/support``.
"""

from __future__ import annotations

import onnx
from onnx_cases.bounded import bounds_of
from onnx_cases.node_cases import cases_of, claimed
from onnx_cases.older import UNCHECKED, versions
from onnx_cases.skips import DIFFERENT, NOT_RUN, RANDOM, reason
from places import DOCS

from robcert.certify.importer.operators.operator_table import OPERATORS, Gradient
from robcert.certify.importer.twin.twin import CONTROL

PAGE = DOCS / "operators.md"

HEAD = """# Operators of the twin

The ONNX operators that the twin supports, the first opset, the kind of gradient, and the number of
the ONNX project's own backend cases (onnx {version}) that each one passes. A dash in the last
column means that every case is run. Older opsets are those compared with ONNX Runtime on one-node
graphs. Bounds says how `robcert verify` bounds the output as a function of the first input:
exactly, by ReLUs, by lines, or by the planes of products. At a dash `verify` stops.
Operators that ONNX defines by others (Attention, RotaryEmbedding, SwiGLU, ...) are expanded into
these, and so are functions inside a model.

| operator | from opset | gradient | bounds | cases run | older opsets | not run or different |
|---|---|---|---|---|---|---|
"""


def row(name: str) -> str:
    """One line of the table."""
    rows = OPERATORS.get(("", name), [])
    since = rows[-1].since if rows else 1
    gradient = rows[0].gradient if rows else Gradient.TRUE
    why: dict[str, int] = {}
    cases = cases_of(name)
    for case in cases:
        listed = reason(case, DIFFERENT) or reason(case, NOT_RUN)
        if listed:
            why[listed] = why.get(listed, 0) + 1
    notes = "; ".join(f"{n}: {text}" for text, n in why.items()) or "-"
    random = {opset for opset in versions(name) if UNCHECKED.get((name, opset)) == RANDOM}
    older = [str(opset) for opset in versions(name) if opset >= since and opset not in random]
    run = len(cases) - sum(why.values())
    parts = [name, since, gradient, bounds_of(name), run, ", ".join(older) or "-", notes]
    return f"| {' | '.join(map(str, parts))} |"


def page() -> str:
    """The whole page."""
    own = sorted(name for domain, name in OPERATORS if domain == "com.microsoft")
    lines = [row(name) for name in claimed()]
    foot = (
        "\nOperators of the domain com.microsoft (from ONNX Runtime's quantiser and optimiser), "
        f"compared with ONNX Runtime: {', '.join(own)}.\n"
    )
    control = ", ".join(sorted(CONTROL))
    also = f"\n{control} are handled by the translation itself; Loop and Scan are not supported.\n"
    return HEAD.format(version=onnx.__version__) + "\n".join(lines) + "\n" + foot + also


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

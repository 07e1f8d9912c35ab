"""The page on the claims: a table of verdicts, and a paragraph and a picture for each."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from .networks import EPOCHS, EPSILON, WIDTH
from .verdict import RULE, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from .claim import Claim, Finding

    Claims = Mapping[str, Claim]
    Findings = Mapping[str, Sequence[Finding]]


HEAD = f"""# The papers' claims, judged

Each claim is a small experiment: `cnn4` of width {WIDTH} on Fashion-MNIST, {EPOCHS} epochs, radius
{EPSILON:g} in linf. Accuracies are attacked numbers, γ, ω and the bounds are estimated. The
networks are far smaller than the papers', so a verdict is about the claim at this size.

{RULE} The rule, the gaps and the sizes were fixed before the experiments ran.

```
python benchmarks/claims.py FOLDER --seed 0
python benchmarks/claims.py FOLDER --seed 1
python benchmarks/claims.py FOLDER --seed 2
python benchmarks/claims.py FOLDER --table --docs
```
"""


def table(claims: Claims, findings: Findings) -> str:
    """One row per claim: the gap of each seed, and the verdict."""
    lines = ["| claim | statement | gap, by seed | verdict |", "|---|---|---|---|"]
    for name in sorted(claims, key=lambda one: int(one[1:])):
        gaps = [one.gap for one in findings[name]]
        said = f"**{verdict(gaps)}**" if gaps else "not measured"
        numbers = ", ".join(f"{gap:.3g}" for gap in gaps)
        lines.append(f"| {name} | {claims[name].statement} | {numbers} | {said} |")
    return "\n".join(lines)


def page(claims: Claims, findings: Findings) -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, table(claims, findings), "", *_details(claims, findings)])


def _details(claims: Claims, findings: Findings) -> Iterator[str]:
    for name in sorted(claims, key=lambda one: int(one[1:])):
        claim, found = claims[name], findings[name]
        if not found:
            continue
        yield f"## {name}: {verdict([one.gap for one in found])}"
        yield ""
        yield f"{claim.statement} ({claim.source})"
        yield ""
        yield f"The gap is {claim.gap}. {claim.caveat}"
        yield ""
        yield "| | mean | smallest | largest |"
        yield "|---|---|---|---|"
        for number in found[0].numbers:
            values = [one.numbers[number] for one in found]
            cells = " | ".join(f"{of(values):.3g}" for of in (fmean, min, max))
            yield f"| {number} | {cells} |"
        yield ""
        yield f"![the numbers of {name} by seed](claims/{name}.png)"
        yield ""


def pictures(claims: Claims, findings: Findings, folder: Path) -> None:
    """One picture per claim: each number, a mark per seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in claims:
        if findings[name]:
            _picture(name, findings[name], folder / f"{name}.png")


def _picture(name: str, found: Sequence[Finding], file: Path) -> None:
    numbers = list(found[0].numbers)
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7, 0.8 + 0.3 * len(numbers)), layout="constrained")
        axes = figure.subplots()
        for seed, one in enumerate(found):
            places = range(len(numbers))
            axes.plot([one.numbers[n] for n in numbers], places, "o", label=f"seed {seed}", ms=5)
        axes.set_yticks(range(len(numbers)), numbers)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(name, loc="left")
        axes.legend(fontsize=8)
        figure.savefig(file, dpi=110)

"""Which estimated radii attacks refute: mean radii, and how many an adversarial image contradicts.

    python benchmarks/radii.py FOLDER [--zoo DIR] [--limit N]

For each row, `robcert attack --suite standard` and `robcert bounds --profile quick` (logit margins)
make one results file in FOLDER; rows that have one are only read. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

from refuting.subjects import subjects

from robcert.cli.main import run

ROOT = Path(__file__).resolve().parents[1]
ZOO = Path(os.environ.get("ROBCERT_ZOO", ROOT.parent / "shared" / "zoo"))
ROWS = (
    ("fashion-gaussian", "l2", "0.5"),
    ("fashion-honest", "l2", "0.5"),
    ("fashion-honest", "linf", "8/255"),
    ("fashion-masked", "linf", "8/255"),
    ("mnist_convnet_maxpool", "linf", "0.03"),
    ("mnist-net_256x2", "linf", "0.03"),
    ("mnist-net_256x2", "l2", "0.5"),
    ("cifar_base_kw", "linf", "2/255"),
    ("resnet_2b", "linf", "2/255"),
    ("vit_pgd_2_3_16", "linf", "2/255"),
)
"""Model, norm and ε."""

RADII = ("rho_bound", "l_bound", "omega_bound", "gamma_bound", "rho_own_bound")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="results files; existing rows are read")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder of third-party models")
    parser.add_argument("--limit", type=int, default=40, help="images of each model")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    zoo = options.zoo if (options.zoo / "zoo.json").is_file() else None
    known = {one.name: one for one in subjects(zoo, options.folder)}
    print("| model, norm, ε | attacked, median | ρ-bound | L-bound | ω-bound | γ-bound | own ρ |")
    print("|---|---|---|---|---|---|---|")
    for name, norm, epsilon in ROWS:
        if name in known:
            out = options.folder / f"{name}-{norm}.h5"
            said = [*known[name].options, "--limit", str(options.limit), "--norm", norm]
            said += ["--out", str(out), "--json"]
            attacked = told(["attack", *said, "--suite", "standard"])
            bounds = told(["bounds", *said, "--profile", "quick", "--eps", epsilon])
            print(row(f"{name}, {norm} {epsilon}", attacked, bounds), flush=True)


def told(command: list[str]) -> dict[str, Any]:
    """The summary of a command."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = run(command)
    if code != 0:
        raise SystemExit(f"robcert {' '.join(command)} ended with {code}")
    return dict(json.loads(said.getvalue())["summary"])


def row(title: str, attacked: dict[str, Any], bounds: dict[str, Any]) -> str:
    """One line of the table: mean radius of the correct images, and how many are refuted."""
    cells = [title, f"{attacked['median_distance']:.3g}"]
    for name in RADII:
        radius = bounds["radius"].get(name)
        cells.append(
            "–" if radius is None else f"{radius['mean_correct']:.3g}, {radius['refuted']}"
        )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

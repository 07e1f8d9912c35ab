"""Judge the papers' claims by small experiments.

    python benchmarks/claims.py FOLDER [--seed 0] [--only C1 C7] [--data-root DIR]
    python benchmarks/claims.py FOLDER --table [--docs]

The first form trains the networks of one seed, analyses them and writes what each claim gave to
FOLDER/seed-0/C1.json and so on; finished work is kept, so that the same command continues after an
interruption. Seeds are independent of each other: run one per core. The second prints the verdicts
on what all seeds gave; ``--docs`` also writes the page with its numbers and pictures into docs/.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from judging.claim import Claim, Finding
from judging.igr_claims import CLAIMS as IGR
from judging.laboratory import Laboratory, Size
from judging.llr_claims import CLAIMS as LLR
from judging.page import page, pictures, table
from judging.soar_claims import CLAIMS as SOAR

CLAIMS = {claim.name: claim for claim in (*LLR, *IGR, *SOAR)}
DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    options = _parser().parse_args()
    if options.table:
        conclude(options.folder, docs=options.docs)
        return
    torch.set_num_threads(1)
    size = Size(
        options.training, options.epochs, options.attacked, options.measured, options.blocks
    )
    lab = Laboratory(
        folder=options.folder / f"seed-{options.seed}",
        seed=options.seed,
        size=size,
        data=options.data,
        data_root=options.data_root,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    for name in options.only:
        judge(CLAIMS[name], lab)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=CLAIMS, default=list(CLAIMS))
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets")
    parser.add_argument("--training", type=int, help="training images; default all")
    parser.add_argument("--epochs", type=int, help="epochs; default those of the networks")
    parser.add_argument("--attacked", type=int, default=Size().attacked, help="test images")
    parser.add_argument("--measured", type=int, default=Size().measured, help="test images")
    parser.add_argument("--blocks", type=int, default=Size().blocks, help="blocks of ten images")
    parser.add_argument("--table", action="store_true", help="print the verdicts")
    parser.add_argument("--docs", action="store_true", help="write the page")
    return parser


def judge(claim: Claim, lab: Laboratory) -> None:
    """Measure a claim with one seed, unless it is known."""
    file = lab.folder / f"{claim.name}.json"
    if not file.is_file():
        found = claim.measure(lab)
        text = json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n"
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    print(claim.name, json.loads(file.read_text(encoding="utf-8"))["gap"], flush=True)


def conclude(folder: Path, *, docs: bool) -> None:
    """Print the verdicts on what all seeds gave."""
    findings = {
        name: [
            Finding(**json.loads(file.read_text(encoding="utf-8")))
            for file in sorted(folder.glob(f"seed-*/{name}.json"))
        ]
        for name in CLAIMS
    }
    print(table(CLAIMS, findings))
    if docs:
        of = {name: [one.to_json() for one in found] for name, found in findings.items()}
        text = json.dumps(of, indent=1, ensure_ascii=False) + "\n"
        (DOCS / "claims.json").write_text(text, encoding="utf-8")
        pictures(CLAIMS, findings, DOCS / "claims")
        (DOCS / "claims.md").write_text(page(CLAIMS, findings), encoding="utf-8")


if __name__ == "__main__":
    main()

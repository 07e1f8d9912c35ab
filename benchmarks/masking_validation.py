"""Validation of the masking check on models that hide their gradient and honest ones.

    python benchmarks/masking_validation.py FOLDER --half tuning --train fashion-mnist:train ...

Trains and exports every model of masking_set, runs the check on its ONNX file, and decides by
attacks that the check lacks whether the model masks (masking_set.trial). Each model adds one line
of JSON to FOLDER/verdicts.jsonl; models that are in it are skipped. `--table` prints the results as
tables for docs/masking.md, and saves them in FOLDER/verdicts.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from masking_set.entries import ENTRIES
from masking_set.fresh import FRESH
from masking_set.networks import Kit
from masking_set.trial import Evidence, TrialPlan, tried

from robcert.certify import masking
from robcert.certify.data import load_images
from robcert.certify.masking import MaskingSettings, Weight
from robcert.certify.numerics import keep_freed_memory
from robcert.certify.store import ResultStore
from robcert.trainers.data import training_images

FILE = "verdicts.jsonl"
VERDICTS = ("masked", "suspect", "unknown", "clear")


def main() -> None:
    options = parsed()
    if options.table:
        lines = (options.folder / FILE).read_text().splitlines()
        last = {row["name"]: row for row in map(json.loads, lines)}
        rows = [reread(row, options.folder) for row in last.values()]
        kept = options.folder / "verdicts.json"
        kept.write_text(f"{json.dumps(rows, indent=1)}\n")
        print("\n".join([*confusion(rows), "", *listing(rows)]))
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    split = training_images(options.train, root=options.data_root)
    images = load_images(options.test, root=options.data_root)
    ready = {} if options.family is None else {p.name: p for p in options.family.iterdir()}
    kit = Kit(
        split.train.first(options.subset),
        split.evaluation,
        options.folder / "runs",
        options.epsilon,
        options.epochs,
        ready,
    )
    verdicts = options.folder / FILE
    options.folder.mkdir(parents=True, exist_ok=True)
    lines = verdicts.read_text().splitlines() if verdicts.is_file() else []
    done = {row["name"]: row for row in map(json.loads, lines)}
    settings = replace(MaskingSettings.of_profile(options.profile), epsilon=options.epsilon)
    plan = TrialPlan(kit, images, options.folder, settings, options.limit)
    for entry in (*ENTRIES, *FRESH):
        wanted = entry.name in options.only if options.only else entry.half == options.half
        if not wanted or (entry.name in done and not options.again):
            continue
        trial = tried(entry, plan, gathered=gathered(done.get(entry.name), options.limit))
        row = {**trial.to_json(), "data": images.name, "images": options.limit}
        print(json.dumps(row), flush=True)
        with verdicts.open("a") as file:
            file.write(f"{json.dumps(row)}\n")


def gathered(row: dict[str, Any] | None, limit: int) -> Evidence | None:
    """The evidence of an earlier run on as many images."""
    if row is None or row["images"] != limit:
        return None
    return Evidence(row["accuracy"], row["pgd"], row["stronger"])


def reread(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The row with the verdict of the present rule on the evidence in the file."""
    path = folder / f"{row['name'].replace(' ', '-')}.h5"
    if not path.is_file():
        return row
    with ResultStore.read(path) as store:
        found = masking.summarise(store, store.existing("masking")[0].path)
    flagged = [i.name for i in found.indicators if i.flagged and i.weight is not Weight.HINT]
    return {**row, "verdict": str(found.verdict), "flagged": flagged, "hidden_in": found.hidden_in}


def confusion(rows: list[dict[str, Any]]) -> list[str]:
    """Table of verdicts against ground truth, as Markdown."""
    lines = [f"| by the evidence | {' | '.join(VERDICTS)} |", "|---|---|---|---|---|"]
    for name, masks in (("masks", True), ("does not mask", False)):
        counts = [
            sum(row["masks"] is masks and row["verdict"] == verdict for row in rows)
            for verdict in VERDICTS
        ]
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return lines


def listing(rows: list[dict[str, Any]]) -> list[str]:
    """Every model, as Markdown."""
    lines = [
        "| model | clean | PGD | stronger | masks | verdict | hidden in |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: not row["masks"]):
        shares = " | ".join(f"{row[key]:.0%}" for key in ("accuracy", "pgd", "stronger"))
        masks = "yes" if row["masks"] else "no"
        said = f"{row['verdict']} | {row['hidden_in']}"
        lines.append(f"| {row['name']} | {shares} | {masks} | {said} |")
    return lines


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("tuning", "held out", "fresh"), default="tuning")
    parser.add_argument("--only", nargs="*", help="names of models, of any collection")
    parser.add_argument("--train", default="fashion-mnist", help="training images")
    parser.add_argument("--test", default="fashion-mnist", help="images to attack")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets")
    parser.add_argument("--family", type=Path, help="existing runs of benchmarks/family.py")
    parser.add_argument("--epsilon", type=float, default=8 / 255, help="linf radius")
    parser.add_argument("--subset", type=int, default=10000, help="training images")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--limit", type=int, default=100, help="images attacked")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    parser.add_argument("--again", action="store_true", help="repeat finished models")
    return parser.parse_args()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main()

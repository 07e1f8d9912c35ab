"""Attempts to refute every number that robcert prints about many models.

    python benchmarks/refutation.py FOLDER [--zoo DIR] [--models NAME ...] [--limit N] [--seconds S]

For the bundled models, and those of a folder of third-party models, the commands of a user make a
results file. Longer searches with another seed, and onnxruntime with NumPy alone, then try to
refute each number in it. What a number of each kind claims, and what refutes it, is stated in
refuting/measured.py, attacked.py, certified.py and estimated.py.

Each model runs in a process of its own, `--jobs` at a time, for about `--seconds`, and adds
NAME.json to FOLDER; models that have one are skipped, and a run that was killed continues with the
rows that its results files already hold. The table of all models in FOLDER is printed, and written
to refutation.json and refutation.md there; `--docs` writes them to docs/ as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from refuting.attacked import attacked
from refuting.certified import certified
from refuting.check import added, by_kind, record, table
from refuting.estimated import estimated
from refuting.files import Files
from refuting.measured import measured
from refuting.numpy_model import NumpyModel
from refuting.searches import Clock, all_shares, run_commands, run_longer, selected
from refuting.subjects import Subject, subjects

from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refuting.check import Check

ROOT = Path(__file__).resolve().parents[1]
ZOO = Path(os.environ.get("ROBCERT_ZOO", ROOT.parent / "shared" / "zoo"))
PAGE = ROOT / "docs" / "refutation.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
GRACE = 3
"""A model's process is ended after this many times its seconds."""


def main() -> None:
    options = parsed()
    options.folder.mkdir(parents=True, exist_ok=True)
    zoo = options.zoo if (options.zoo / "zoo.json").is_file() else None
    known = subjects(zoo, options.folder)
    chosen = [one for one in known if not options.models or one.name in options.models]
    if options.one:
        write(options.folder, options.models[0], examined(chosen[0], options))
        return
    if not options.table:
        left = [one for one in chosen if options.again or not result(options.folder, one.name)]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda one: in_a_process(one, options), left))
    found = [one for name in known if (one := result(options.folder, name.name))]
    lines = report(found)
    print("\n".join(lines))
    (options.folder / "refutation.json").write_text(f"{json.dumps(found, indent=1)}\n")
    (options.folder / "refutation.md").write_text("\n".join([*lines, ""]))
    if options.docs:
        publish(found, lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="results; an existing one is continued")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder of third-party models")
    parser.add_argument("--models", nargs="*", default=[], help="names; default: all")
    parser.add_argument("--limit", type=int, default=10, help="images of each model")
    parser.add_argument("--seconds", type=float, default=130, help="time for each model")
    parser.add_argument("--draws", type=int, default=2000, help="noisy draws per repetition")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    parser.add_argument("--again", action="store_true", help="examine models that have a result")
    parser.add_argument("--no-searches", action="store_true", help="check the existing files only")
    parser.add_argument("--table", action="store_true", help="print the table of existing results")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/, too")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_a_process(subject: Subject, options: argparse.Namespace) -> None:
    """Examine one model in a process that ends with it, or with its time."""
    if subject.skip:
        write(options.folder, subject.name, {"skipped": subject.skip})
        return
    said = [options.folder, "--zoo", options.zoo, "--models", subject.name, "--one"]
    for name in ("limit", "seconds", "draws"):
        said += [f"--{name}", getattr(options, name)]
    start, limit = time.monotonic(), GRACE * options.seconds
    error = [] if options.no_searches else ended(said, limit)
    if error or options.no_searches:  # what a search that was ended has left is checked
        error = ended([*said, "--no-searches"], limit)
    if error:
        write(options.folder, subject.name, {"skipped": f"failed: {error[0]}"})
    print(f"{subject.name}: {time.monotonic() - start:.0f} s {' '.join(error)}", flush=True)


def ended(said: Sequence[object], seconds: float) -> list[str]:
    """How the process of one model failed, in one line; empty if it did not."""
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *map(str, said)]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=threads, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return [f"ended after {seconds:.0f} s"]
    return done.stderr.strip().splitlines()[-1:] if done.returncode else []


def examined(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Make the results files of one model and check every number: counts and refuted numbers."""
    start = time.monotonic()
    clock = Clock(options.seconds, all_shares())
    made = options.folder / f"{subject.name}.h5"
    longer = options.folder / f"{subject.name}-longer.h5"
    failed = []
    if not options.no_searches:
        failed += run_commands(subject, made, options.limit, clock)
    if not made.is_file():
        return {"skipped": "; ".join(failed) or "no results file"}
    if not options.no_searches:
        failed += run_longer(subject, made, longer, options.limit, clock)
    searched = time.monotonic() - start
    found = record(checked(subject, made, longer if longer.is_file() else None, options))
    seconds = {"searches": round(searched), "all": round(time.monotonic() - start)}
    return {**found, "failed": failed, "seconds": seconds, "images": options.limit}


def checked(
    subject: Subject, made: Path, longer: Path | None, options: argparse.Namespace
) -> list[Check]:
    """Every check of a results file."""
    images = selected(subject, options.limit)
    labels = [-1] * len(images) if images.labels is None else images.labels
    model = NumpyModel(subject.model, subject.preprocess, subject.output)
    pixels = images.pixels(np.arange(len(images))).numpy()
    others = [] if longer is None else [ResultStore.read(longer)]
    with ResultStore.read(made) as store:
        files = Files(
            store=store,
            model=model,
            scores_are=subject.scores_are,
            x=pixels,
            labels=np.asarray(labels, np.int64),
            longer=others[0] if others else None,
            draws=options.draws,
            tolerance=subject.tolerance,
        )
        kinds = (measured, attacked, certified, estimated)
        found = [check for kind in kinds for check in kind(files)]
    for one in others:
        one.close()
    return found


def write(folder: Path, name: str, found: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(f"{json.dumps({'model': name, **found}, indent=1)}\n")


def result(folder: Path, name: str) -> dict[str, Any] | None:
    """What was found about a model; None if it has not been examined."""
    path = folder / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None


def report(found: Sequence[dict[str, Any]]) -> list[str]:
    """Tables of all models together, by kind and by number, and of each model."""
    done = [one for one in found if "counts" in one]
    counts = added(done)
    lines = [*table(by_kind(counts)), "", *table(counts), ""]
    lines += ["| model | checked | refuted: measured | attacked | certified | estimated | s |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for one in done:
        kinds = {count.kind: count for count in by_kind(added([one]))}
        refuted = [
            str(kinds[kind].refuted) if kind in kinds else "–"
            for kind in ("measured", "attacked", "certified", "estimated")
        ]
        numbers = sum(count.numbers for count in kinds.values())
        cells = (one["model"], str(numbers), *refuted, str(one["seconds"]["all"]))
        lines.append(f"| {' | '.join(cells)} |")
    skipped = [f"{one['model']} ({one['skipped']})" for one in found if "skipped" in one]
    return [*lines, "", f"Not examined: {', '.join(skipped)}."] if skipped else lines


def publish(found: Sequence[dict[str, Any]], lines: Sequence[str]) -> None:
    """Write the results into docs/, the table between its two marks on the page."""
    PAGE.with_suffix(".json").write_text(f"{json.dumps(found, indent=1)}\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text("\n".join([f"{before}{BEGIN}", "", *lines, "", f"{END}{after}"]))


if __name__ == "__main__":
    main()

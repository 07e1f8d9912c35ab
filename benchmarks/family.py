"""A small network trained by every method on the same data and budget, audited and compared.

    python benchmarks/family.py FOLDER [--data-root DIR] [--only METHOD ...] [--stage train|audit]

Runs the commands of docs/family.md one after the other and prints each. Finished results in FOLDER
are kept, so the same command continues after an interruption; ``--again`` repeats the audits, for
example after a change of an analysis.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

METHODS = (
    *("standard", "gaussian", "free", "gradient", "jacobian", "cure", "llr", "smoothadv"),
    *("soar", "adversarial", "trades"),
)
"""Methods in the order of their cost; ``soar`` starts from the network of ``standard``."""

BUDGET = (
    *("--arch", "cnn4", "--width", "8", "--epochs", "4", "--learning-rate", "0.1"),
    "--no-validation",
)
OWN = {
    "adversarial": ("--steps", "5", "--step-size", "3/255"),
    "trades": ("--steps", "5", "--step-size", "0.014"),
}
"""Options of single methods: fewer and larger steps than their defaults, to save time."""

IMAGES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-root", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--stage", choices=("train", "audit", "all"), default="all")
    parser.add_argument("--again", action="store_true", help="repeat existing audits")
    options = parser.parse_args()
    root = () if options.data_root is None else ("--data-root", str(options.data_root))
    for method in options.only:
        if options.stage != "audit":
            train(method, options.folder, root)
    if options.stage == "train":
        return
    # deleted before the first audit, so that a run without --again can continue
    for method in options.only if options.again else ():
        results(method, options.folder).unlink(missing_ok=True)
    for method in options.only:
        audit(method, options.folder, root)
    found = [str(results(method, options.folder)) for method in METHODS]
    found = [path for path in found if Path(path).is_file()]
    run("compare", *found, "--picture", str(options.folder / "family.png"), "--brief")
    run("compare", *found, "--json", to=options.folder / "family.json")


def train(method: str, folder: Path, root: tuple[str, ...]) -> None:
    """Train and export, unless the ONNX file exists."""
    out = folder / method
    if (out / "model.onnx").is_file():
        return
    start = ("--init-from", str(folder / "standard")) if method == "soar" else ()
    again = ("--resume",) if (out / "state.safetensors").is_file() else ()
    run(
        "train",
        method,
        *BUDGET,
        *OWN.get(method, ()),
        *start,
        *root,
        "--threads",
        "1",
        "--out",
        str(out),
        *again,
    )


def audit(method: str, folder: Path, root: tuple[str, ...]) -> None:
    """Audit the first test images; existing rows of the results file are kept."""
    run(
        *(
            "audit",
            "--model",
            str(folder / method / "model.onnx"),
            "--data",
            "fashion-mnist",
            *root,
        ),
        *("--limit", str(IMAGES), "--profile", "quick", "--threads", "1"),
        *("--out", str(results(method, folder)), "--quiet"),
    )


def results(method: str, folder: Path) -> Path:
    """Results file of a method."""
    return folder / f"{method}.h5"


def run(*command: str, to: Path | None = None) -> None:
    """Run a command of robcert, with its output in the file ``to``; exit if it fails."""
    print("robcert", *command, *(() if to is None else (">", str(to))), flush=True)
    code = "from robcert.cli.main import main; main()"
    pipe = None if to is None else subprocess.PIPE
    done = subprocess.run(
        [sys.executable, "-c", code, *command], check=False, stdout=pipe, text=True
    )
    if done.returncode:
        sys.exit(done.returncode)
    if to is not None:
        to.write_text(done.stdout)


if __name__ == "__main__":
    main()

"""The shapes of what `--json` prints: keys and types, nested; kept in tests/golden.

Write them again where a key was added on purpose:

    .venv/bin/python tests/support/json_shapes.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from command_line import robcert

from robcert.certify.auditing.open import bundled

FOLDER = Path(__file__).resolve().parents[1] / "golden"

MODEL = ("--model", bundled("fashion-honest.onnx"))
OTHER = bundled("fashion-gaussian.onnx")
COMMON = (*MODEL, "--threads", "1", "--quiet")
PLAIN = (*COMMON, "--limit", "2")
FEW = (*PLAIN, "--profile", "quick")
CHANGES = ("--gaussian", "0.1", "--spatial", "10,0.1")
GATE = ("--gate", "clean_accuracy >= 0.1 (point)")
SIGMAS = ("--sigma", "0.25", "--sigma", "0.5")
SMALL_SAMPLE = ("--blocks", "30", "--block-size", "2")

ANALYSES: dict[str, tuple[object, ...]] = {
    "audit": ("audit", *FEW, *GATE, "--only", "inspect", "--only", "linearity", "--only", "attack"),
    "audit_of_several": ("audit", "--model", OTHER, *FEW, *GATE, "--only", "attack"),
    "attack": ("attack", *FEW, "--attack", "pgd", "--attack", "fgsm", "--per-attack"),
    "transfer": ("attack", *FEW, "--source", OTHER),
    "corruption": ("corruption", *PLAIN, *CHANGES, "--draws", "2"),
    "linearity": ("linearity", *FEW, "--steps", "5"),
    "linearity_series": ("linearity", *FEW, "--steps", "5", "--also", OTHER),
    "bounds": ("bounds", *FEW, "--norm", "l2", "--eps", "0.5", *SMALL_SAMPLE),
    "verify": ("verify", *FEW, "--eps", "2/255", "--eps", "8/255", "--method", "crown"),
    "smoothing_certify": ("smoothing", "certify", *FEW, "--n", "500"),
    "smoothing_two_sigmas": ("smoothing", "certify", *FEW, "--n", "500", *SIGMAS),
    "smoothing_predict": ("smoothing", "predict", *FEW, "--n", "500"),
    "smoothing_attack": ("smoothing", "attack", *FEW, "--steps", "2", "--draws", "4"),
    "masking_check": ("masking-check", *FEW),
    "surface": ("surface", *COMMON, "--resolution", "5", "--steps", "3"),
    "taylor": ("taylor", *PLAIN),
    "inspect": ("inspect", *MODEL, "--threads", "1"),
}
"""Commands whose object is kept, with few images and little work."""


FOLDERS = ("audit_of_several",)
"""Commands whose results are a folder."""

READERS = {"show": ("audit",), "compare": ("linearity", "linearity_series")}
"""Commands that read the results files of others."""

COMMANDS = (*ANALYSES, *READERS)


def printed(name: str, folder: Path) -> Any:
    """What the command ``name`` prints; its results file and pictures are in ``folder``."""
    ended = robcert(*_arguments(name, folder), "--json")
    assert ended.status == 0, ended.stderr
    return json.loads(ended.stdout)


def _arguments(name: str, folder: Path) -> tuple[object, ...]:
    if name in READERS:
        return (name, *(_results(one, folder) for one in READERS[name]))
    if name == "inspect":
        return ANALYSES[name]
    picture = ("--picture", folder / f"{name}.png") if name in ("surface", "taylor") else ()
    out = folder / (name if name in FOLDERS else f"{name}.h5")
    return (*ANALYSES[name], "--out", out, *picture)


def _results(name: str, folder: Path) -> Path:
    path = folder / f"{name}.h5"
    if not path.exists():
        printed(name, folder)
    return path


def shape(value: Any) -> Any:
    """Keys and types of ``value``; of a list the different shapes of its items.

    A number that is missing is null, so both have one type.
    """
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        texts = sorted({json.dumps(shape(item)) for item in value})
        return [json.loads(text) for text in texts]
    return "float | null" if value is None or isinstance(value, float) else type(value).__name__


def differences(kept: Any, found: Any, where: str = "") -> list[str]:
    """Places at which two shapes differ; lists of which one is empty do not."""
    if isinstance(kept, dict) and isinstance(found, dict):
        lines = [f"{where}: key {key!r} is gone" for key in kept if key not in found]
        lines += [f"{where}: key {key!r} is new" for key in found if key not in kept]
        for key in kept.keys() & found.keys():
            lines += differences(kept[key], found[key], f"{where}.{key}")
        return lines
    if isinstance(kept, list) and isinstance(found, list):
        strange = [item for item in found if not any(_same(item, one) for one in kept)]
        return [f"{where}: an item {item} is new" for item in strange] if kept else []
    return [] if kept == found else [f"{where}: {kept} became {found}"]


def _same(one: Any, other: Any) -> bool:
    return not differences(one, other)


def keep(name: str, value: Any) -> None:
    """Write the shape of ``value`` to the folder of the kept ones."""
    text = json.dumps(shape(value), indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def kept(name: str) -> Any:
    """The kept shape called ``name``."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for each in COMMANDS:
            keep(each, printed(each, Path(made)))

"""Commands that are killed and resumed, and what must be the same as without a kill.

Sequence number i depends on the seed and i alone, but for the speed of the machine: one command in
an empty folder is killed once or more, each time resumed by the same command, and compared with a
run that nobody disturbed.
"""

from __future__ import annotations

import csv
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file

from .killing import TIMES, Ended, Moment, contents, finished_rows, preload, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

RESULTS, RUN = "results.h5", "run"
SIDE, CLASSES, IMAGES = 6, 3, 240
AGAIN = 0.4
"""Probability that the command that resumes a killed one is killed too."""

TRIES = 6
"""Moments that are drawn until one comes before the end of the command."""

COMMON = "--model model.onnx --data images.npz --threads 1 --quiet --out results.h5"
TWO = f"{COMMON} --batch-size 2 --limit 2"
FEW = f"{COMMON} --batch-size 2 --limit 4"
SOME = f"{COMMON} --batch-size 2 --limit 8"
TRAINING = "--data images.npz --threads 1 --quiet --resume --out run --arch mlp --width 16"
AUDITED = " ".join(f"--only {part}" for part in ("inspect", "attack", "linearity", "smoothing"))

COMMANDS = {
    "attack": f"attack {SOME} --profile quick --save-images",
    "linearity": f"linearity {SOME} --profile quick --eps 8/255 --eps 0.1",
    "bounds": f"bounds {TWO} --profile quick --blocks 30 --block-size 2",
    "corruption": f"corruption {SOME} --spatial 30,0.1 --gaussian 0.1",
    "verify": f"verify {SOME} --method crown --budget 10m --save-images",
    "smoothing certify": f"smoothing certify {SOME} --profile quick --sigma 0.25",
    "smoothing predict": f"smoothing predict {SOME} --sigma 0.25",
    "smoothing attack": f"smoothing attack {FEW} --sigma 0.25 --steps 3 --draws 2",
    "masking-check": f"masking-check {FEW} --profile quick",
    "surface": f"surface {COMMON} --batch-size 16",
    "taylor": f"taylor {SOME}",
    "audit": f"audit {FEW} --profile quick {AUDITED}",
    "train standard": f"train standard {TRAINING} --epochs 3 --batch-size 16 --keep-every 1",
    "train adversarial": f"train adversarial {TRAINING} --epochs 2 --batch-size 32",
}
"""What is killed; the same line resumes it."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A command that came to its end.

    Attributes:
        ended: how long it took.
        parts: everything that another run must give, bit by bit.
        rows: finished rows of its results file.
        names: of the files that it leaves.
    """

    ended: Ended
    parts: dict[str, bytes]
    rows: dict[tuple[str, int], bytes]
    names: frozenset[str]


@dataclass(slots=True)
class Sequence:
    """One command that was killed and resumed.

    Attributes:
        number: of the sequence.
        name: of the command.
        kills: how many were killed before their end.
        early: kills before anything was published.
        kept: finished rows that the last kill left.
        lost: finished rows that a later kill, or the end, no longer has.
        faults: one line each for every difference, failure, traceback or file left over.
    """

    number: int
    name: str
    kills: int = 0
    early: int = 0
    kept: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """Sums over sequences, by command."""

    sums: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, one: Sequence) -> None:
        """Count ``one``."""
        sums = self.sums.setdefault(one.name, Counter())
        sums.update(
            kills=one.kills,
            early=one.early,
            resumed=int(one.kills > 0),
            kept=one.kept,
            lost=one.lost,
            faults=len(one.faults),
        )
        self.faults += [f"{one.number} {one.name}: {fault}" for fault in one.faults]

    @property
    def total(self) -> Counter[str]:
        """Sums over all commands."""
        return sum(self.sums.values(), Counter[str]())

    def table(self) -> str:
        """A Markdown table with a row per command."""
        columns = ("kills", "early", "resumed", "kept", "lost", "faults")
        head = ["command", "kills", "before the first row", "resumed to the end"]
        rows = [[*head, "rows that were finished", "rows lost", "faults"]]
        rows.append(["---"] + ["--:"] * len(columns))
        for name, sums in [*self.sums.items(), ("all", self.total)]:
            rows.append([name, *(str(sums[column]) for column in columns)])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def to_json(self) -> dict[str, Any]:
        """The sums and the faults."""
        sums = {name: dict(counted) for name, counted in self.sums.items()}
        return {"commands": sums, "total": dict(self.total), "faults": self.faults}


class Kills:
    """The commands ``names``, with a folder to run them in.

    Args:
        folder: for the inputs and all runs.
        names: which of ``COMMANDS``.
        program: start the program itself each time.
    """

    def __init__(self, folder: Path, names: Iterable[str] = COMMANDS, *, program: bool = False):
        self.folder, self.names, self.program = folder, tuple(names), program
        self._undisturbed: dict[str, Undisturbed] = {}
        folder.mkdir(parents=True, exist_ok=True)
        preload()
        write_inputs(folder)

    def sequences(self, numbers: Iterable[int], seed: int) -> Iterator[Sequence]:
        """Sequences ``numbers``, one after the other."""
        for number in numbers:
            yield self.sequence(number, seed)

    def sequence(self, number: int, seed: int) -> Sequence:
        """Kill one command and resume it until it comes to its end."""
        source = random.Random(f"{seed} kills {number}")
        one = Sequence(number, self.names[number % len(self.names)])
        expected, place = self.undisturbed(one.name), self._place("killed")
        before: dict[tuple[str, int], bytes] = {}
        while one.kills == 0 or source.random() < AGAIN:
            ended = self._killed(one, place, expected, source)
            if ended is None:
                break
            rows = self._rows(one, place)
            one.early += not rows and not (place / RUN).exists()
            one.lost += len(before.keys() - rows.keys())
            one.faults += _differences("killed, row", expected.rows, rows, subset=True)
            one.kept, before = len(rows), rows
        self._finish(one, place, expected, before)
        shutil.rmtree(place)
        return one

    def undisturbed(self, name: str) -> Undisturbed:
        """The command ``name`` without a kill, from a run of its own the first time."""
        if name not in self._undisturbed:
            place = self._place("undisturbed")
            ended = self._run(name, place)
            if ended.status != 0:
                raise RuntimeError(f"{name} ends with {ended.status}: {ended.said}")
            rows = finished_rows(place / RESULTS) if (place / RESULTS).exists() else {}
            self._undisturbed[name] = Undisturbed(ended, _parts(place), rows, _names(place))
            shutil.rmtree(place)
        return self._undisturbed[name]

    def _killed(
        self, one: Sequence, place: Path, expected: Undisturbed, source: random.Random
    ) -> Ended | None:
        """Run the command until it is killed; None if it ended before each moment, or failed."""
        for _ in range(TRIES):
            ended = self._run(one.name, place, Moment.drawn(source, expected.ended))
            if ended.status == -9:
                one.kills += 1
                return ended
            if ended.status != 0:
                one.faults.append(f"status {ended.status}: {ended.said[-500:]}")
                return None
            if one.kills:
                return None
            shutil.rmtree(place)
            self._place("killed")
        return None

    def _finish(
        self,
        one: Sequence,
        place: Path,
        expected: Undisturbed,
        before: dict[tuple[str, int], bytes],
    ) -> None:
        """Resume the command, to its end, and compare."""
        ended = self._run(one.name, place)
        if ended.status != 0 or "Traceback" in ended.said or "bug in robcert" in ended.said:
            one.faults.append(f"resumed: status {ended.status}: {ended.said[-500:]}")
            return
        one.lost += len(before.keys() - self._rows(one, place).keys())
        one.faults += _differences("resumed,", expected.parts, _parts(place))
        if left := _names(place) - expected.names:
            one.faults.append(f"left over: {', '.join(sorted(left))}")

    def _rows(self, one: Sequence, place: Path) -> dict[tuple[str, int], bytes]:
        """Finished rows of the results file in ``place``; none if it is not there yet."""
        if not (place / RESULTS).exists():
            return {}
        try:
            return finished_rows(place / RESULTS)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            one.faults.append(f"killed: the file cannot be read: {error}")
            return {}

    def _run(self, name: str, place: Path, moment: Moment | None = None) -> Ended:
        return run(COMMANDS[name].split(), place, moment, program=self.program)

    def _place(self, name: str) -> Path:
        """A folder with nothing but the inputs."""
        place = self.folder / name
        place.mkdir()
        for file in ("model.onnx", "images.npz"):
            shutil.copy(self.folder / file, place)
        return place


def write_inputs(folder: Path) -> None:
    """A small network of two layers, and images of which it gets most right."""
    source = np.random.default_rng(0)
    inputs = SIDE * SIDE
    weights = {
        "w1": source.normal(0, inputs**-0.5, (inputs, 12)),
        "b1": source.normal(0, 0.1, 12),
        "w2": source.normal(0, 0.6, (12, CLASSES)),
        "b2": np.zeros(CLASSES),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["positive"]),
            helper.make_node("Gemm", ["positive", "w2", "b2"], ["y"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), n) for n, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    pixels = source.integers(0, 256, (IMAGES, 1, SIDE, SIDE), np.uint8)
    hidden = pixels.reshape(IMAGES, -1) / 255 @ weights["w1"] + weights["b1"]
    labels = (np.maximum(hidden, 0) @ weights["w2"]).argmax(1)
    labels[::10] = (labels[::10] + 1) % CLASSES
    np.savez(folder / "images.npz", images=pixels, labels=labels)


def _names(place: Path) -> frozenset[str]:
    """Paths of all files in ``place``."""
    return frozenset(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file())


def _parts(place: Path) -> dict[str, bytes]:
    """Everything in ``place`` that must not depend on kills: results, weights, measurements."""
    results, folder = place / RESULTS, place / RUN
    found = contents(results) if results.exists() else {}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in load_file(path).items():
            found[f"{path.relative_to(place)} {name}"] = tensor.numpy().tobytes()
    for path in (folder / "model.onnx", folder / "config.json"):
        if path.exists():
            found[path.name] = path.read_bytes()
    if (folder / "metrics.csv").exists():
        with (folder / "metrics.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                measured = {k: v for k, v in row.items() if k not in TIMES}
                found[f"metrics.csv epoch {row['epoch']}"] = repr(measured).encode()
    return found


def _differences(
    what: str, expected: dict[Any, bytes], found: dict[Any, bytes], *, subset: bool = False
) -> list[str]:
    """One line for each part that is missing, that should not be there, or that differs."""
    lines = [] if subset else [f"{what} {key} is missing" for key in expected if key not in found]
    lines += [f"{what} {key} is not in the undisturbed run" for key in found.keys() - expected]
    both = expected.keys() & found.keys()
    return lines + [f"{what} {key} differs" for key in both if expected[key] != found[key]]

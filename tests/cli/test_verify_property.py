"""`robcert verify --property`: a small network whose outputs over a box are known."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import pytest
import vnnlib_files as vf
from command_line import robcert

from robcert.certify import verify_property
from robcert.certify.errors import PropertyFileError
from robcert.certify.verification import Answer, PropertySettings

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

BOX = [(-1, 1), (-1, 1)]
HOLDS, VIOLATED = "(>= Y_0 2.01)", "(>= Y_0 1.9)"
"""Y_0 = max(X_0 + X_1, 0) + max(-X_0 - X_1, 0) is at most 2 over the box; intervals say 4."""

QUIET = ("--threads", "1", "-q", "--budget", "20s")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [
        om.node("MatMul", "x a", "p"),
        om.node("Relu", "p", "r"),
        om.node("MatMul", "r b", "y"),
    ]
    first, second = [[1, -1], [1, -1]], [[1, 0], [1, 1]]
    made = om.model(
        nodes,
        inputs={"x": ("batch", 2)},
        outputs={"y": None},
        weights={"a": np.array(first, np.float32), "b": np.array(second, np.float32)},
    )
    return om.saved(tmp_path, made)


def written(folder: Path, unsafe: str) -> Path:
    return vf.written(folder, vf.old_style(BOX, 2, unsafe))


def checked(model: Path, unsafe: str, *more: object) -> Ended:
    file = written(model.parent, unsafe)
    return robcert("verify", "-m", model, "--property", file, *QUIET, *more)


def test_a_property_that_holds_exits_with_0(model: Path) -> None:
    ended = checked(model, HOLDS)
    assert (ended.status, ended.stderr) == (0, "")
    assert "property of model.onnx  [certified]" in ended.stdout
    assert "answer" in ended.stdout
    assert "No input of the property has unsafe outputs: proved for every eval" in ended.stdout


def test_a_violated_property_exits_with_1_and_shows_the_counterexample(model: Path) -> None:
    ended = checked(model, VIOLATED)
    assert (ended.status, ended.stderr) == (1, "failed: the property is violated\n")
    assert "property of model.onnx  [attacked]" in ended.stdout
    assert "An input of the property has unsafe outputs, re-checked in the runtime." in ended.stdout
    assert "counterexample  [attacked]" in ended.stdout
    assert "X_1" in ended.stdout


def test_an_undecided_property_exits_with_1_and_says_why(model: Path) -> None:
    ended = checked(model, HOLDS, "--method", "interval")  # its bound is 4
    assert ended.status == 1
    assert ended.stderr == "failed: the property is undecided: loose bounds\n"
    assert "certified" not in ended.stdout
    assert "Neither a proof nor a counterexample was found: loose bounds." in ended.stdout


def test_a_spent_budget_is_a_timeout(model: Path) -> None:
    answers = model.parent / "answers.txt"
    ended = checked(model, HOLDS, "--budget", "0.000001s", "--answers", answers)
    assert ended.status == 1
    assert ended.stderr == "failed: the property is undecided: time\n"
    assert answers.read_text() == "timeout\n"


def test_the_json_object_has_the_keys_of_every_command(model: Path) -> None:
    ended = checked(model, VIOLATED, "--json", "--seed", "3", "--arithmetic", "real")
    found = json.loads(ended.stdout)
    assert ended.status == 1
    assert list(found) == [
        *("command", "robcert_version", "model", "data", "settings", "summary", "violations"),
        *("warnings", "results"),
    ]
    assert (found["command"], found["model"]["file"]) == ("verify", "model.onnx")
    assert found["settings"]["property"]["seed"] == found["settings"]["seed"] == 3
    assert found["settings"]["property"]["seconds"] == 20
    summary = found["summary"]
    assert (summary["answer"], summary["arithmetic"]) == ("violated", "real")
    assert summary["model_sha256"] == found["model"]["sha256"]
    assert summary["property_sha256"] == found["data"]["sha256"]
    example = summary["counterexample"]
    inputs = [float(example["inputs"][name]) for name in ("X_0", "X_1")]
    assert all(-1 <= value <= 1 for value in inputs)
    assert example["outputs"]["Y_0"] == pytest.approx(abs(sum(inputs)))
    assert example["outputs"]["Y_0"] >= 1.9


@pytest.mark.parametrize(
    ("unsafe", "first"), [(HOLDS, "unsat"), (VIOLATED, "sat"), ("(<= Y_0 -1)", "unsat")]
)
def test_the_answer_file_has_the_format_of_the_competition(
    model: Path, unsafe: str, first: str
) -> None:
    answers = model.parent / "new" / "answers.txt"
    checked(model, unsafe, "--answers", answers)
    lines = answers.read_text().splitlines()
    assert lines[0] == first
    if first == "sat":
        assert [line.split()[0].strip("(") for line in lines[1:]] == ["X_0", "X_1", "Y_0", "Y_1"]
        assert "".join(lines[1:]).startswith("((X_0 ")
        assert lines[-1].endswith("))")
    else:
        assert lines == ["unsat"]


def test_a_compressed_property_is_read(model: Path) -> None:
    path = model.parent / "property.vnnlib.gz"
    path.write_bytes(gzip.compress(vf.new_style(BOX, 2, "(>= Y[0,0] 2.01)").encode()))
    assert robcert("verify", "-m", model, "--property", path, *QUIET).status == 0


def refused(ended: Ended, *said: str) -> None:
    """Refused in one line, perhaps with a hint, and without a result."""
    assert (ended.status, ended.stdout) == (2, "")
    first, *rest = ended.stderr.splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith("hint: ") for line in rest)
    assert len(rest) <= 1
    for text in said:
        assert text in first


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("-d", "images.npz"), "--data"),
        (("--limit", "5", "--norm", "linf"), "--limit, --norm"),
        (("--eps", "8/255"), "--eps"),
        (("--mean", "0.5", "--layout", "NCHW"), "--layout"),
        (("--profile", "standard"), "--profile"),
        (("--out", "r.h5"), "--out"),
        (("--overwrite",), "--overwrite"),
        (("--save-images",), "--save-images"),
        (("--plot", "p.svg"), "--plot"),
        (("--fail-under", "verified_accuracy=0.5"), "--fail-under"),
        (("--time-budget", "10s"), "--time-budget"),
        (("--device", "cpu"), "--device"),
    ],
)
def test_options_of_images_are_refused(model: Path, options: tuple[str, ...], named: str) -> None:
    refused(checked(model, HOLDS, *options), named, "would have no effect with --property")


def test_answers_without_a_property_are_refused(model: Path) -> None:
    refused(robcert("verify", "-m", model, "--answers", "a.txt"), "--answers needs --property")


def test_a_property_without_a_model_is_refused(model: Path) -> None:
    file = written(model.parent, HOLDS)
    refused(robcert("verify", "--property", file), "--property needs --model")


def test_what_cannot_be_read_or_written_is_refused(model: Path) -> None:
    folder = model.parent
    refused(robcert("verify", "-m", model, "--property", folder / "none.vnnlib"), "none.vnnlib")
    refused(robcert("verify", "-m", folder / "none.onnx", "--property", written(folder, HOLDS)))
    refused(checked(model, HOLDS, "--answers", folder), "no answer can be written")
    refused(checked(model, HOLDS, "--answers", model / "a.txt"), "no answer can be written")
    refused(checked(model, HOLDS, "--budget", "0s"))
    refused(checked(model, HOLDS, "--output", "other"))
    refused(checked(model, "(>= Y_0 1"), "line 9")
    weights = folder / "weights.safetensors"
    weights.write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    refused(robcert("verify", "-m", weights, "--property", written(folder, HOLDS)))


def test_python_gives_the_answer_of_the_command_line(model: Path) -> None:
    settings = PropertySettings(seconds=20, seed=3)
    told: list[str] = []

    def progress(task: str, done: int, total: int) -> None:
        told.append(f"{task} {done} of {total}")

    file = written(model.parent, HOLDS)
    found = verify_property(str(model), str(file), settings, progress=progress)
    assert (found.answer, found.proved, found.witness) == (Answer.HOLDS, found.cases, None)
    assert told[-1] == "cases 1 of 1"
    violated = verify_property(model, written(model.parent, VIOLATED), settings)
    again = json.loads(checked(model, VIOLATED, "--json", "--seed", "3").stdout)["summary"]
    assert violated.witness is not None
    assert violated.to_json()["counterexample"] == again["counterexample"]
    with pytest.raises(PropertyFileError, match="has 4 inputs, the model has 2"):
        verify_property(model, vf.written(model.parent, vf.old_style(BOX * 2, 2, HOLDS)))

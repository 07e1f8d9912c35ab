"""Configuration files: where they are found, what they may say, what the command line replaces."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer
from command_line import robcert

from robcert.certify.auditing.open import bundled
from robcert.certify.errors import ConfigurationError
from robcert.cli.main import app
from robcert.cli.shell import configuration_file
from robcert.cli.shell.configuration_file import found_upwards, read_configuration
from robcert.cli.shell.configured_command import ConfiguredCommand, _options
from robcert.cli.shell.invocation import command_line, configured

AUDIT: Any = typer.main.get_command(app)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that is a repository of its own."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(command: str, *typed: str) -> dict[str, Any]:
    """Values of the options of ``command`` as it would get them."""
    made = AUDIT.commands[command]
    with AUDIT.make_context("robcert", [command]) as root:
        return dict(made.make_context(command, list(typed), parent=root).params)


def said(folder: Path, text: str, command: str = "audit", *typed: str) -> dict[str, Any]:
    (folder / "robcert.toml").write_text(text)
    return parsed(command, *typed)


def refused(folder: Path, text: str, *typed: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        said(folder, text, "audit", *typed)
    assert "\n" not in str(caught.value)
    return f"{caught.value} | {caught.value.hint}"


WHOLE = """
model = "models/m.onnx"
data = "images.npz"
profile = "quick"
norm = "L2"
eps = [0.25, "1/2"]
limit = 20
mean = [0.5, 0.25, 1]
range = "0,255"
out = "results/r.h5"
strict = true
gates = ["masking == clear", "regression from old.h5 (level 0.01)"]
"""


def test_every_kind_of_value_becomes_that_of_its_option(folder: Path) -> None:
    found = said(folder, WHOLE)
    assert found["model"] == [Path("models/m.onnx")]
    assert (found["data"], found["profile"], found["norm"]) == ("images.npz", "quick", "l2")
    assert found["eps"] == ["0.25", "1/2"]
    assert (found["limit"], found["mean"], found["value_range"]) == (20, "0.5,0.25,1", "0,255")
    assert (found["out"], found["strict"]) == (Path("results/r.h5"), True)
    assert found["gate"] == ["masking == clear", "regression from old.h5 (level 0.01)"]


def test_a_command_takes_the_options_that_it_has(folder: Path) -> None:
    found = said(folder, WHOLE, "inspect")
    assert found["model"] == Path("models/m.onnx")
    assert "eps" not in found
    assert set(configured().words) == {"model", "data", "mean", "range"}


def test_several_models_are_for_the_command_that_takes_them(folder: Path) -> None:
    text = 'model = ["a.onnx", "b.onnx"]'
    assert said(folder, text)["model"] == [Path("a.onnx"), Path("b.onnx")]
    with pytest.raises(ConfigurationError, match=r"model: 2 values, and this command takes one"):
        parsed("attack")
    assert parsed("attack", "--model", "c.onnx")["model"] == Path("c.onnx")
    assert said(folder, "race = true\nrace-alpha = 0.1")["race_alpha"] == 0.1
    assert said(folder, 'model = ["a.onnx"]', "attack")["model"] == Path("a.onnx")


def test_the_command_line_wins(folder: Path) -> None:
    typed = ("--limit", "3", "--norm", "linf", "--gate", "violations == 0", "-m", "other.onnx")
    found = said(folder, WHOLE, "audit", *typed)
    assert (found["limit"], found["norm"], found["model"]) == (3, "linf", [Path("other.onnx")])
    assert found["gate"] == ["violations == 0"]
    assert not found["eps"], "a distance of another norm"
    assert found["profile"] == "quick"


def test_options_that_belong_together_are_replaced_together(folder: Path) -> None:
    assert said(folder, WHOLE, "audit", "--preprocess", "{}")["mean"] is None
    assert said(folder, WHOLE, "audit", "--indices", "3")["limit"] is None
    assert not said(folder, 'skip = ["bounds"]', "audit", "--only", "attack")["skip"]


def test_preprocessing_can_be_a_table(folder: Path) -> None:
    found = said(folder, '[preprocess]\nmean = [0.5]\nlayout = "NHWC"')
    assert json.loads(str(found["preprocess"])) == {"mean": [0.5], "layout": "NHWC"}


def test_paths_start_from_the_folder_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "robcert.toml").write_text(
        'model = "m.onnx"\ndata = "fashion-mnist-2000"\ngates = ["regression from old.h5"]'
    )
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b")
    found = parsed("audit")
    assert found["model"] == [folder / "m.onnx"]
    assert found["data"] == "fashion-mnist-2000"
    assert found["gate"] == [f"regression from {folder / 'old.h5'}"]
    assert not parsed("audit", "--no-config")["model"]
    (folder / "a" / "robcert.toml").write_text('data = "near.npz"')
    assert parsed("audit")["data"] == str(folder / "a" / "near.npz")
    assert parsed("audit", "--config", "../../robcert.toml")["model"] == [Path("../../m.onnx")]


def test_an_address_is_no_path_and_its_secrets_are_not_stored(folder: Path) -> None:
    found = said(folder, 'data = "https://me:key@host/a.npz?sig=b3"')
    assert found["data"] == "https://me:key@host/a.npz?sig=b3"
    for told in (command_line(), configured().note):
        assert "https://…@host/a.npz?…" in told


def test_no_file_outside_the_repository_counts(folder: Path) -> None:
    inner = folder / "repository"
    (inner / ".git").mkdir(parents=True)
    (folder / "robcert.toml").write_text("limit = 3")
    assert found_upwards(inner) is None
    assert found_upwards(folder) is not None


@pytest.mark.parametrize("name", ["robcert.toml", "pyproject.toml"])
def test_a_file_above_that_a_stranger_wrote_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    inner = folder / "models"
    inner.mkdir()
    (folder / name).write_text("[tool.robcert]\n" if name == "pyproject.toml" else "limit = 5")
    owners = {folder / name: os.getuid() + 1}
    monkeypatch.setattr(configuration_file, "owner", lambda path: owners.get(path, os.getuid()))
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        found_upwards(inner)
    assert found_upwards(folder) is not None
    owners[inner] = os.getuid() + 1  # all of the project is theirs, as in a container
    assert found_upwards(inner) is not None
    owners.clear()
    assert found_upwards(inner) is not None


def test_a_table_of_pyproject_toml_counts_after_robcert_toml(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'")
    assert found_upwards(folder) is None
    (folder / "pyproject.toml").write_text("[tool.robcert]\nlimit = 7")
    assert parsed("audit")["limit"] == 7
    assert said(folder, "limit = 8")["limit"] == 8
    (folder / "pyproject.toml").write_text("[tool]\nrobcert = 3")
    with pytest.raises(ConfigurationError, match=r"tool\.robcert is not a table"):
        read_configuration(folder / "pyproject.toml")
    (folder / "pyproject.toml").write_text("")
    with pytest.raises(ConfigurationError, match=r"has no table \[tool\.robcert\]"):
        read_configuration(folder / "pyproject.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle = 'm.onnx'", "there is no key 'modle' | did you mean model? keys: only, skip,"),
        ("arch = 'evil:run'", "arch names code to run, which no file may | pass --arch"),
        ("overwrite = true", "overwrite is an option of the command line only"),
        ("debug = true", "debug is an option of the command line only"),
        ("fail-under = ['robust_accuracy=1']", "fail-under is an option of the command line only"),
        ("limit = '20'", "limit: the value must be a whole number"),
        ("limit = true", "limit: the value must be a whole number"),
        ("limit = 2.5", "limit: the value must be a whole number"),
        ("strict = 1", "strict: the value must be true or false"),
        ("model = 3", "model: the value must be text"),
        ("eps = [true]", "eps: the value must be text"),
        ("gates = [[1]]", "gates: the value must be text"),
        ("mean = [1, [2]]", "mean: the value must be text"),
        ("seed = 2024-01-01", "seed: the value must be a whole number"),
        ("profile = 'fast'", "profile: "),
        ("norm = 'l7'", "norm: 'l7' is not a norm"),
        ("eps = 'wide'", "eps: 'wide' is not a number"),
        ("eps = 8", "eps: epsilon 8 is larger than the whole range of a pixel"),
        ("norm = 'l2'\neps = [-1]", "eps: epsilon must be a positive"),
        ("time-budget = 'soon'", "time-budget: the value takes a time span"),
        ("memory_limit = 'much'", "memory-limit: 'much' is not a size of memory"),
        ("mean = 'a,b'", "mean: 'a' is not a number"),
        ("indices = '3-1'", "indices: "),
        ("batch-size = 'all'", "batch-size: "),
        ("out = '../r.h5'", "out: '../r.h5' leads out of the folder of the file"),
        ("out = '/etc/r.h5'", "out: '/etc/r.h5' leads out of the folder of the file"),
        ("data-root = 'x'\ndata_root = 'y'", "data-root is written twice"),
        ("mean = 0.5\n[preprocess]\nstd = [1]", "preprocess and mean contradict each other"),
        ("indices = '1'\nlimit = 3", "indices and limit contradict each other"),
        ("limit = ", "is not TOML: Invalid value"),
        ("[" * 5000, "is not TOML: "),
        ("limit = " + "9" * 5000, "is not TOML: "),
    ],
)
def test_a_fault_is_one_line_with_file_and_key(folder: Path, text: str, words: str) -> None:
    found = refused(folder, text)
    assert found.startswith("robcert.toml")
    assert words in found


def test_a_fault_counts_where_the_command_lacks_the_option_too(folder: Path) -> None:
    (folder / "robcert.toml").write_text("limit = 'x'")
    ended = robcert("inspect")
    assert ended.status == 2
    assert ended.stderr.splitlines() == [
        "error: robcert.toml: limit: the value must be a whole number"
    ]


def test_results_leave_the_folder_by_no_link(folder: Path, tmp_path_factory: Any) -> None:
    (folder / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    assert "leads out of the folder" in refused(folder, "out = 'link/r.h5'")


def test_what_is_no_file_is_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.toml")
    (folder / "large.toml").write_text("#" * (1 << 20) + "\n")
    for name, words in (
        ("pipe.toml", "is not a file"),
        ("missing.toml", "does not exist"),
        ("large.toml", "is larger than 1 MiB"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            read_configuration(folder / name)
    ended = robcert("audit", "--config", "missing.toml")
    assert (ended.status, ended.stderr.splitlines()[0]) == (2, "error: missing.toml does not exist")
    ended = robcert("audit", "--config", "large.toml", "--no-config")
    assert "contradict each other" in ended.stderr


def test_help_shows_the_defaults_of_the_file(folder: Path) -> None:
    (folder / "robcert.toml").write_text("limit = 17\nprofile = 'thorough'")
    text = " ".join(robcert("attack", "--help").stdout.split())
    assert "[default: 17]" in text
    assert "[default: thorough]" in text
    assert "[default: 17]" not in robcert("attack", "--help", "--no-config").stdout


def test_every_command_with_a_model_reads_it() -> None:
    without: list[object] = []
    for name in ("attack", "corruption", "inspect", "verify", "surface", "taylor", "linearity"):
        command = AUDIT.commands[name]
        assert isinstance(command, ConfiguredCommand)
        without += [name] if "config" not in {param.name for param in command.params} else []
    for command in AUDIT.commands["smoothing"].commands.values():
        assert isinstance(command, ConfiguredCommand)
        without += [] if "config" in {param.name for param in command.params} else [command.name]
    assert not without
    assert "arch" not in _options(AUDIT.commands["audit"])


@pytest.mark.slow
def test_what_was_taken_is_told_and_the_stored_command_says_it(folder: Path) -> None:
    model = folder / "m.onnx"
    model.write_bytes(bundled("fashion-honest.onnx").read_bytes())
    (folder / "robcert.toml").write_text(
        'model = "m.onnx"\ndata = "fashion-mnist-2000"\nlimit = 2\nprofile = "quick"\n'
        'out = "r.h5"\nonly = ["attack"]\ngates = ["clean_accuracy >= 0.1 (point)"]\nthreads = 1\n'
    )
    ended = robcert("audit", "--limit", "3", "--config", "robcert.toml")
    assert ended.status == 0, ended.stderr
    assert (
        "note: robcert.toml gives: --only attack --gate 'clean_accuracy >= 0.1 (point)' --model "
        "m.onnx --threads 1 --data fashion-mnist-2000 --profile quick --out r.h5"
    ) in ended.stderr
    assert "1 gate: all passed." in ended.stdout
    with h5py.File(folder / "r.h5") as file:
        (audit,) = file["audit"].values()
        stored = json.loads(audit.attrs["record"])["command"]
        assert len(np.asarray(file["data/index"])) == 3
    assert stored == (
        "robcert audit --limit 3 --no-config --only attack --gate 'clean_accuracy >= 0.1 (point)' "
        "--model m.onnx --threads 1 --data fashion-mnist-2000 --profile quick --out r.h5"
    )
    assert "gives" not in robcert("audit", "--quiet").stderr
    assert robcert("audit", "--no-config", "--only", "nothing").stderr.startswith("error: there is")
    assert command_line() == "robcert audit --no-config --only nothing"


def test_a_gate_of_the_file_is_named_by_it(folder: Path) -> None:
    (folder / "robcert.toml").write_text('gates = ["robust_accuracy"]')
    ended = robcert("audit")
    assert ended.stderr.startswith("error: robcert.toml: gates: 'robust_accuracy' is not a gate")
    ended = robcert("audit", "--gate", "robust_accuracy")
    assert ended.stderr.startswith("error: --gate 'robust_accuracy' is not a gate")

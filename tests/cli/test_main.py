import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import robcert
from command_reference import reference
from places import DOCS

from robcert.certify.errors import DataError
from robcert.certify.store.group import AnalysisGroup
from robcert.cli import main
from robcert.cli.commands import COMMANDS
from robcert.cli.shell.invocation import command_line, continuation, remember

HEAVY = ("torch", "numpy", "scipy", "onnx", "onnxruntime", "h5py", "matplotlib", "rich")
SLOW = ("pydantic", "importlib.metadata", "fractions", "robcert.cli.attack")


@pytest.mark.parametrize(
    ("command", "modules"), [(["--help"], (*HEAVY, *SLOW)), (["audit", "--help"], HEAVY)]
)
def test_help_loads_nothing_heavy(command: list[str], modules: tuple[str, ...]) -> None:
    program = (
        f"import sys; from robcert.cli.main import run; run({command});"
        f"print('loaded', [m for m in {modules} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("loaded []\n"), done.stdout[-200:] + done.stderr


@pytest.mark.parametrize(
    ("chosen", "used"),
    [
        ({}, main.SPINS),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_threads_wait_in_a_loop_for_a_short_time_only(chosen: dict[str, str], used: str) -> None:
    program = (
        "import os, sys, robcert.cli.main as it; sys.argv = ['robcert', '--version']\n"
        "try: it.main()\n"
        "except SystemExit: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    given = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=given | chosen,
    )
    assert done.stdout.splitlines()[-1] == f"{used} False"


def test_version() -> None:
    assert robcert("--version").stdout == f"robcert {version('robcert')}\n"


@pytest.mark.parametrize("group", [(), ("smoothing",), ("train",)])
def test_no_command_prints_the_help(group: tuple[str, ...]) -> None:
    ended = robcert(*group)
    assert ended.status == 0
    assert ended.stderr == ""
    assert ended.stdout.startswith(" ".join(("Usage: robcert", *group)))
    assert ended.stdout == robcert(*group, "--help").stdout


def test_the_list_of_commands_says_what_their_help_begins_with() -> None:
    root: Any = typer.main.get_command(main.app)
    for name, entry in COMMANDS.items():
        assert " ".join(root.commands[name].help.split("\n\n")[0].split()) == entry.doc


@pytest.mark.parametrize(
    "arguments",
    [
        ("audti",),
        ("audit", "--epsilon", "3"),
        ("audit", "--norm", "l7"),
        ("audit", "--limit", "many"),
        ("audit", "--model"),
        ("report",),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(arguments: tuple[str, ...]) -> None:
    ended = robcert(*arguments)
    lines = ended.stderr.splitlines()
    assert ended.status == 2
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: robcert ")


def failing(error: BaseException) -> Any:
    def app(**_: object) -> None:
        raise error

    return app


def test_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    error = DataError("images.npz\nholds no images", hint="give another file")
    monkeypatch.setattr(main, "app", failing(error))
    ended = robcert("audit")
    assert ended.status == 2
    assert ended.stderr == "error: images.npz\\u000aholds no images\nhint: give another file\n"


def test_a_bug_is_one_line_that_says_so() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.Typer, "__call__", failing_method(ZeroDivisionError("by zero")))
        ended = robcert("audit")
    assert ended.status == 2
    assert "ZeroDivisionError: by zero (this is a bug in robcert)" in ended.stderr
    assert "--debug" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.Typer, "__call__", failing_method(ZeroDivisionError("by zero")))
        ended = robcert("audit", "--debug")
    assert ended.status == 2
    assert "Traceback" in ended.stderr


def test_memory_and_files_are_explained() -> None:
    missing = FileNotFoundError(2, "No such file or directory", "x.onnx")
    for error, line in (
        (MemoryError(), "error: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "error: out of memory"),
        (missing, "error: No such file or directory: x.onnx"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(typer.Typer, "__call__", failing_method(error))
            assert robcert("audit").stderr.startswith(line)


def test_an_interrupt_prints_the_command_to_go_on() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.Typer, "__call__", failing_method(KeyboardInterrupt()))
        ended = robcert("audit", "--model", "my model.onnx")
    assert ended.status == 130
    assert "robcert audit --model 'my model.onnx'" in ended.stderr


def test_an_interrupt_says_that_something_is_saved_only_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = AnalysisGroup.append
    asked = ("linearity", "--limit", "2", "--steps", "1", "-o", str(tmp_path / "r.h5"))

    def interrupted(*, first_row: bool) -> str:
        def press(group: AnalysisGroup, *row: Any) -> None:
            if first_row:
                append(group, *row)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AnalysisGroup, "append", press)
            ended = robcert(*asked, "--batch-size", "1")
        assert ended.status == 130
        return ended.stderr.splitlines()[-1]

    again = f"run: robcert {shlex.join(asked)} --batch-size 1"
    assert (
        interrupted(first_row=False)
        == f"interrupted: this run has saved nothing yet; to start again, {again}"
    )
    assert list(tmp_path.iterdir()) == []
    saved = f"interrupted: finished work is saved; to continue, {again}"
    assert interrupted(first_row=True) == saved
    assert interrupted(first_row=False) == saved  # the row is there still


def test_the_command_that_continues_does_not_begin_again() -> None:
    remember(("verify", "--overwrite", "--out", "my file.h5"))
    assert command_line() == "robcert verify --overwrite --out 'my file.h5'"
    assert continuation() == "robcert verify --out 'my file.h5'"


def test_an_interrupted_training_is_resumed_only_if_it_had_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robcert.trainers.train.fit", press)
    asked = ("train", "standard", "--subset", "64", "--out", str(tmp_path / "run"))
    ended = robcert(*asked)
    assert ended.stderr.endswith(f"start again, run: robcert {shlex.join(asked)}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").touch()
    ended = robcert(*asked, "--resume")
    assert ended.status == 130
    assert "finished work is saved" in ended.stderr


def failing_method(error: BaseException) -> Any:
    def call(self: object, **_: object) -> None:
        raise error

    return call


def commands(node: Any, name: str) -> list[tuple[str, Any]]:
    children = getattr(node, "commands", {})
    if not children:
        return [(name, node)]
    return [leaf for part, child in children.items() for leaf in commands(child, f"{name} {part}")]


LEAVES = commands(typer.main.get_command(main.app), "robcert")
KINDS = ("certified", "estimated", "attacked", "measured", "no numbers")


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_help_has_an_example_and_names_the_kind_of_its_numbers(
    name: str, command: Any
) -> None:
    text = " ".join(command.help.split())
    assert f"Example: {name}" in text
    assert any(kind in text for kind in KINDS)
    assert all(option.help for option in command.params if option.name != "help")


def test_the_reference_page_is_what_the_program_says() -> None:
    page = DOCS / "cli.md"
    assert page.read_text(encoding="utf-8") == reference(), "run python docs/make.py"


@pytest.mark.parametrize("arguments", [("datasets",), ("audit", "--help")])
def test_it_ends_quietly_where_nobody_reads(arguments: tuple[str, ...]) -> None:
    program = f"import sys; from robcert.cli.main import run; sys.exit(run({list(arguments)!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        said = running.stderr.read()
    assert said == ""
    assert running.returncode == 141  # as after SIGPIPE; 1 would be a failed check

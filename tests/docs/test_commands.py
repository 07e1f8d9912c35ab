"""Every command of the pages is one, and those of guides and how-tos run as they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from docs_pages import blocks_of, text_of
from page_commands import PAGES, furnish, lines_of, robcert_commands, run_page
from typer.core import TyperGroup

from robcert.cli.main import app

if TYPE_CHECKING:
    from pathlib import Path

    from typer._click import Command, Context

ATTACK_ONLY = 'only = ["inspect", "attack"]\nprofile = "quick"\n'

AUDIT = "robcert audit -m model.onnx -d images.npz"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a page's commands need to run in seconds.

    Attributes:
        images: number of images in ``images.npz``.
        configuration: robcert.toml, which shortens what the page leaves open.
        before: commands whose files the page names without having made them.
        added: options that shorten a command, by how the command begins.
    """

    images: int = 6
    configuration: str = ""
    before: tuple[str, ...] = ()
    added: dict[str, str] = field(default_factory=dict)

    def shortened(self, line: str) -> str:
        """``line`` with the options that are added to it, before its comment."""
        command, hash_sign, comment = line.partition("  #")
        for beginning, options in self.added.items():
            if command.startswith(beginning):
                return f"{command} {options}{hash_sign}{comment}"
        return line


RUN = {
    "README.md": Setting(configuration=ATTACK_ONLY),
    "docs/auditor.md": Setting(
        configuration=ATTACK_ONLY, added={"robcert audit": "--profile quick"}
    ),
    "docs/evidence.md": Setting(configuration='only = ["attack", "masking"]\nprofile = "quick"\n'),
    "docs/fleets.md": Setting(
        4, ATTACK_ONLY, before=("mkdir models && cp model.onnx gaussian.onnx models",)
    ),
    "docs/gates.md": Setting(
        40,
        'only = ["attack", "linearity", "masking"]\n',
        before=(f"{AUDIT} -o old.h5 --profile quick",),
        added={"robcert audit -m new.onnx": "--profile quick"},
    ),
    "docs/guide.md": Setting(
        2,
        before=tuple(
            f"{AUDIT} -o {name}.h5 --only attack --profile quick"
            for name in ("results", "honest", "masked")
        ),
    ),
    "docs/preprocessing.md": Setting(200),
    "docs/release-engineer.md": Setting(
        40,
        added={"robcert audit": "--skip smoothing --skip verify"},
    ),
    "docs/researcher.md": Setting(
        added={"robcert bounds": "--blocks 30 --block-size 2"},
    ),
    "docs/several-machines.md": Setting(8, ATTACK_ONLY),
    "docs/smoothing.md": Setting(
        before=("robcert smoothing certify -m gaussian.onnx --sigma 0.25 -o other.h5",),
        added={
            "robcert smoothing attack": "--limit 2 --draws 8 --steps 4",
            "robcert smoothing": "--limit 2 --n 1000",
        },
    ),
    "docs/start.md": Setting(20),
    "docs/training.md": Setting(
        configuration=ATTACK_ONLY,
        added={
            "robcert train llr": "--data fashion-mnist-2000 --epochs 1 --subset 8 --arch cnn4",
            "robcert train": "--epochs 1 --subset 64 --batch-size 32",
            "robcert smoothing": "--limit 2 --n 1000 --allow-low-accuracy",
            "robcert audit": "--limit 2 --allow-low-accuracy",
        },
    ),
    "docs/verify.md": Setting(
        1, before=("robcert verify -m model.onnx -d images.npz --eps 1/255 --save-proof proof.h5",)
    ),
}

NOT_RUN = {
    "docs/cluster.md": "they need a Ray cluster",
    "docs/export-a-model.md": "test_export_page.py runs them",
    "docs/reproduce.md": "trains several networks",
    "docs/security.md": "pip-audit asks other hosts",
}
"""Pages with shell blocks whose options alone are checked, and why."""

LEFT_OUT = {
    "make demo": "it installs several gigabytes",
    "make test": "it runs these tests",
    "pip install": "it installs",
    "--data imagenet": "150 GB that cannot be downloaded",
    "torchrun": "a process group; tests/trainers/loop/test_processes.py starts some",
}
"""Beginnings and options of single lines that are not run, and why."""

MAY_FAIL = ("--gate", "--strict", "--fail-under")


def test_pages_with_commands_are_run_or_have_a_reason() -> None:
    with_commands = {page for page in PAGES if lines_of(page)}
    assert with_commands == RUN.keys() | NOT_RUN.keys()
    lines = "\n".join(line for page in RUN for line in lines_of(page))
    assert [text for text in LEFT_OUT if text not in lines] == []


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Values of the options of a command, checked as the program checks them.

    Raises:
        typer.TyperException: there is no such command or option, a value is not possible, or an
            argument is missing.
    """
    command = typer.main.get_command(app)
    return _parsed_by(command, command.make_context("robcert", list(arguments)))


def _parsed_by(command: Command, context: Context) -> dict[str, Any]:
    words = [*context._protected_args, *context.args]
    if not isinstance(command, TyperGroup) or not words:
        return dict(context.params)
    name, inner, rest = command.resolve_command(context, words)
    assert inner is not None, name
    if isinstance(inner, TyperGroup) and not rest:  # it would print its help
        return {}
    return _parsed_by(inner, inner.make_context(name, rest, parent=context))


@pytest.mark.parametrize("page", [page for page in PAGES if robcert_commands(page)])
def test_the_commands_of_a_page_have_these_options(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the text of a page arguments may be missing, as in the name of a command."""
    monkeypatch.chdir(tmp_path)
    in_blocks = robcert_commands(page, text=False)
    for arguments in robcert_commands(page):
        try:
            parsed(arguments)
        except typer.Exit:
            assert arguments[-1] in ("--help", "--version")
        except typer.TyperException as error:
            missing = error.format_message().startswith("Missing")
            if not missing or arguments in in_blocks:
                pytest.fail(f"robcert {' '.join(arguments)}: {error.format_message()}")


def test_a_wrong_option_is_found() -> None:
    with pytest.raises(typer.TyperException):
        parsed(["audit", "--no-such-option"])
    with pytest.raises(typer.TyperException):
        parsed(["no-such-command"])
    with pytest.raises(typer.TyperException):
        parsed(["show"])
    assert parsed(["show", "r.h5"]) != {}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    setting = RUN[page]
    furnish(tmp_path, setting.images)
    if setting.configuration:
        (tmp_path / "robcert.toml").write_text(setting.configuration, encoding="utf-8")
    written = [line for line in lines_of(page) if not any(text in line for text in LEFT_OUT)]
    jobs = [one for line in written for one in _of_an_array(line)]
    lines = [setting.shortened(line) for line in (*setting.before, *jobs)]
    ran, stderr = run_page(lines, tmp_path)
    assert len(ran) == sum("robcert " in line for line in lines)
    wrong = [
        one
        for one in ran
        if one.status != 0
        and not (one.status == 1 and any(gate in one.command for gate in MAY_FAIL))
    ]
    assert wrong == [], stderr[-3000:]


def _of_an_array(line: str) -> list[str]:
    """``line`` once, or for each task of the array of jobs that it belongs to."""
    if "$SLURM_ARRAY_TASK_ID" not in line:
        return [line]
    return [line.replace("$SLURM_ARRAY_TASK_ID", str(task)) for task in range(1, 9)]


@pytest.mark.parametrize("page", ["docs/configuration.md", "docs/gates.md"])
def test_the_configurations_of_a_page_are_read(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from command_line import robcert

    (text,) = blocks_of(text_of(page), "toml")
    furnish(tmp_path, 2)
    (tmp_path / "models").mkdir()
    (tmp_path / "model.onnx").rename(tmp_path / "models" / "classifier.onnx")
    (tmp_path / "data").mkdir()
    (tmp_path / "images.npz").rename(tmp_path / "data" / "test.npz")
    (tmp_path / "robcert.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ended = robcert("inspect")
    assert ended.status == 0, ended.stderr
    assert "robcert.toml" in ended.stderr

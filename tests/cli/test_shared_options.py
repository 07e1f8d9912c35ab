"""Shared options: each command lists those that its output depends on, and refuses the others."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
import typer
from command_line import robcert

from robcert.certify.core import Norm
from robcert.cli.main import app
from robcert.cli.shell import options as shell
from robcert.cli.shell.options import AnalysisOptions, shared_options
from robcert.trainers.methods.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path

MODEL = {field.name for field in fields(shell.ModelOptions)}
DATA = {field.name for field in fields(shell.DataOptions)}
SELECTION = {"limit", "every", "indices", "shard"}
BALL = {"norm", "eps"}
RUN = {
    *("seed", "batch_size", "workers", "ray", "ray_resources", "out", "overwrite"),
    *("allow_low_accuracy", "time_budget"),
}
OUTPUT = {"as_json", "quiet", "debug", "config", "no_config"}
CHECK_FILES = {"junit", "sarif", "markdown"}
EVERYTHING = {field.name for field in fields(AnalysisOptions)}

HEEDED = {
    "inspect": MODEL | DATA | OUTPUT,
    "corruption": MODEL | DATA | SELECTION | RUN | OUTPUT,
    "surface": MODEL | DATA | BALL | RUN | OUTPUT,
    "taylor": MODEL | DATA | SELECTION | BALL | RUN | OUTPUT,
    **{
        f"smoothing {name}": EVERYTHING - BALL - CHECK_FILES
        for name in ("certify", "predict", "attack")
    },
    **dict.fromkeys(("audit", "attack", "verify", "masking-check"), EVERYTHING),
    **dict.fromkeys(("linearity", "bounds"), EVERYTHING - CHECK_FILES),
}


def command_called(name: str) -> Any:
    node: Any = typer.main.get_command(app)
    for part in name.split():
        node = node.commands[part]
    return node


@pytest.mark.parametrize("name", HEEDED)
def test_a_command_lists_the_shared_options_that_it_heeds(name: str) -> None:
    listed = {option.name for option in command_called(name).params}
    assert listed & EVERYTHING == HEEDED[name]


def test_all_shared_options_are_in_one_group() -> None:
    assert MODEL | DATA | SELECTION | BALL | RUN | OUTPUT | CHECK_FILES | {"profile"} == EVERYTHING
    assert {"--model", "-m", "--limit", "--eps", "--json", "--time-budget"} <= shared_options()


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("inspect", "--eps", "0.1"),
        ("inspect", "--out", "r.h5"),
        ("inspect", "--limit", "3"),
        ("surface", "--limit", "3"),
        ("surface", "--indices", "0,1"),
        ("surface", "--profile", "quick"),
        ("taylor", "--profile", "quick"),
        ("smoothing certify", "--norm", "l2"),
        ("corruption", "--eps", "0.1"),
    ],
)
def test_an_option_without_effect_is_a_usage_error(command: str, option: str, value: str) -> None:
    ended = robcert(*command.split(), option, value)
    assert ended.status == 2
    assert ended.stderr.splitlines() == [
        f"error: robcert {command} has no option {option}: it would have no effect",
        f"hint: robcert {command} --help lists its options",
    ]


@pytest.mark.parametrize(
    ("text", "norm"),
    [
        *((text, Norm.L1) for text in ("l1", "L1", "l_1", "1")),
        *((text, Norm.L2) for text in ("l2", "L2", "l-2", "ℓ2", " L2 ")),
        *((text, Norm.LINF) for text in ("linf", "Linf", "LINF", "inf", "l_inf", "infinity", "∞")),
    ],
)
def test_norms_by_the_names_that_people_write(text: str, norm: Norm) -> None:
    assert Norm(text) is norm


@pytest.mark.parametrize("text", ["", "l", "l3", "infinite", "two"])
def test_what_is_no_norm(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid Norm"):
        Norm(text)


def test_the_spelling_of_a_norm_does_not_change_the_group(tmp_path: Path) -> None:
    few = ("linearity", "--limit", "1", "--steps", "1", "-q", "-o", str(tmp_path / "r.h5"))
    found = [json.loads(robcert(*few, "--json", "--norm", text).stdout) for text in ("l2", "L_2")]
    assert found[0]["settings"] == found[1]["settings"]
    assert found[0]["settings"]["norm"] == "l2"


@pytest.mark.parametrize("command", [*HEEDED, *(f"train {name}" for name in METHODS)])
def test_every_command_with_a_norm_takes_its_names(command: str) -> None:
    for option in command_called(command).params:
        if option.name == "norm":
            assert option.type_descriptor.parameter_info.parser("L_inf") is Norm.LINF

"""Models without a limit to their cost: every command ends with one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from command_line import robcert
from onnx_models import saved
from pixel_costs import COSTLY, at_white

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

COMMANDS = {
    "inspect": (),
    "attack": (),
    "linearity": (),
    "bounds": (),
    "corruption": ("--spatial", "5,0.05"),
    "verify": (),
    "smoothing certify": (),
    "smoothing predict": (),
    "smoothing attack": (),
    "masking-check": (),
    "surface": (),
    "taylor": (),
    "audit": (),
}
SLOW, LARGE = "counting", "growing"
IMAGES, WHITE = 400, 3
"""Images of the data set, and the one of them with a white entry."""


def arguments(folder: Path, made: ModelProto, command: str) -> list[object]:
    pixels = np.random.default_rng(0).random((IMAGES, 4, 4, 3)).astype(np.float32) * 0.9
    pixels[WHITE, 0, 0, 0] = 1.0
    np.savez(folder / "images.npz", images=pixels, labels=np.arange(IMAGES) % 5)
    shared = ["--model", saved(folder, made), "--data", folder / "images.npz"]
    shared += ["--call-limit", "1s", "--memory-limit", "1G"]
    if command != "inspect":
        shared += ["--allow-low-accuracy", "--out", folder / "results.h5"]
    return [*command.split(), *COMMANDS[command], *shared]


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_with_one_line(command: str, name: str, tmp_path: Path) -> None:
    ended = robcert(*arguments(tmp_path, COSTLY[name](), command))
    error, hint = ended.stderr.splitlines()[-2:]
    assert ended.status == 2
    if name == SLOW:
        assert error == "error: the model took more than 1 s on a batch of 1"
        assert "--call-limit" in hint
    else:
        assert error == "error: the model needs more than 1.0 GiB of memory on these images"
        assert "--memory-limit" in hint
    assert not (tmp_path / "results.h5").exists()


def test_a_property_needs_a_network_of_fixed_cost(tmp_path: Path) -> None:
    path = saved(tmp_path, COSTLY[LARGE]())
    lines = [f"(declare-const X_{i} Real)" for i in range(48)]
    lines += [f"(declare-const Y_{i} Real)" for i in range(5)]
    lines += [f"(assert (<= X_{i} 1))(assert (>= X_{i} 0))" for i in range(48)]
    lines += ["(assert (>= Y_0 0))"]
    (tmp_path / "p.vnnlib").write_text("\n".join(lines))
    ended = robcert("verify", "--model", path, "--property", tmp_path / "p.vnnlib")
    assert ended.status == 2
    assert "the input determines the size of the output of Expand" in ended.stderr


def test_images_that_need_too_much_memory_are_left_out(tmp_path: Path) -> None:
    made = at_white(COSTLY[LARGE]())
    command = [*arguments(tmp_path, made, "corruption"), "--limit", 6, "--json"]
    ended = robcert(*command)
    assert ended.status == 0, ended.stderr
    warnings = json.loads(ended.stdout)["warnings"]
    (failed,) = [line for line in warnings if "the model failed on" in line]
    assert "more than 1.0 GiB of memory" in failed
    with h5py.File(tmp_path / "results.h5") as file:
        (table,) = file["corruption"].values()
        computed = table["computed"][()]
    assert computed.tolist() == [index != WHITE for index in range(6)]


def test_no_twin_is_built_of_a_graph_that_cannot_be_limited(tmp_path: Path) -> None:
    made = at_white(COSTLY[LARGE]())
    ended = robcert(*arguments(tmp_path, made, "inspect"), "--json")
    twin = json.loads(ended.stdout)["summary"]["twin"]
    assert not twin["available"]
    assert twin["reason"].startswith("the pixels determine the size of the output of Expand")
    assert any(
        "the runtime has a process of its own, limited in memory" in note
        for note in json.loads(ended.stdout)["summary"]["notes"]
    )


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--call-limit", "soon", "--call-limit takes a time span such as 90s"),
        ("--call-limit", "0s", "call_limit must be a positive finite number, got 0"),
        ("--memory-limit", "much", "'much' is not a size of memory; write 900M or 8G"),
        ("--memory-limit", "0", "memory_limit must be at least 1, got 0"),
        (
            "--memory-limit",
            "90M",
            "one image needs more than 90 MiB of memory beside",
        ),
    ],
)
def test_limits_are_checked(option: str, value: str, line: str, tmp_path: Path) -> None:
    made = at_white(COSTLY[LARGE]())
    ended = robcert(*arguments(tmp_path, made, "inspect"), option, value)
    assert ended.status == 2
    assert ended.stderr.splitlines()[0].startswith("error: ")
    assert line in ended.stderr

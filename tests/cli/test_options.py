import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import robcert

from robcert.certify.profiles import PRESETS, SETTINGS, defaults, settings_of
from robcert.certify.results_json import plain
from robcert.cli.main import app
from robcert.trainers.config import TrainConfig

COMMANDS = {
    "linearity": "linearity",
    "bounds": "bounds",
    "smoothing certify": "smoothing",
    "smoothing predict": "smoothing_prediction",
}


def command_called(name: str) -> Any:
    node: Any = typer.main.get_command(app)
    for part in name.split():
        node = node.commands[part]
    return node


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_shows_the_defaults_of_the_library(name: str) -> None:
    stored = plain(asdict(defaults(COMMANDS[name])))
    shown = {
        option.name: option.show_default
        for option in command_called(name).params
        if isinstance(option.show_default, str)
    }
    assert shown
    for option, text in shown.items():
        assert str(stored[option]) == text, option


@pytest.mark.parametrize("method", ["standard", "gaussian"])
def test_the_help_of_train_shows_the_defaults_of_the_library(method: str) -> None:
    config = TrainConfig.from_json({"method": method})
    stored = {
        **asdict(config),
        **asdict(config.architecture),
        **asdict(config.optimizer),
        **asdict(config.objective),  # type: ignore[call-overload]
        "arch": config.architecture.name,
    }
    for option in command_called(f"train {method}").params:
        if isinstance(option.show_default, str):
            assert str(stored[option.name]) == option.show_default, option.name


def test_every_preset_is_valid_and_standard_is_the_default() -> None:
    for profile, presets in PRESETS.items():
        for analysis in SETTINGS:
            settings = settings_of(analysis, profile)
            if analysis not in presets:
                assert settings == defaults(analysis)


def test_a_command_prints_one_object_resumes_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (
        "linearity",
        "--limit",
        "3",
        "--profile",
        "quick",
        "--eps",
        "8/255",
        "--json",
        "-q",
    )
    first = robcert(*arguments)
    assert first.status == 0, first.stderr
    assert first.stderr == ""
    found = json.loads(first.stdout)
    assert list(found) == [
        *("command", "robcert_version", "model", "data", "settings", "summary"),
        *("violations", "warnings", "results"),
    ]
    (gamma,) = found["summary"]["gamma"]
    assert gamma["epsilon"] == 8 / 255
    assert {"mean", "median", "q95", "max", "n"} <= set(gamma)
    assert len(found["model"]["sha256"]) == 64
    results = Path(found["results"])
    assert results.parent == Path("robcert-results").resolve()
    assert results.name == f"fashion-honest-{found['model']['sha256'][:8]}.h5"
    before = results.read_bytes()
    again = robcert(*arguments)
    assert json.loads(again.stdout) == found
    assert results.read_bytes() == before


@pytest.mark.slow
def test_the_demo_tells_the_honest_model_from_the_masked_one(tmp_path: Path) -> None:
    ended = robcert("demo", "--out-dir", str(tmp_path / "demo"), "-q")
    assert ended.status == 0, ended.stderr
    honest, masked = ended.stdout.split("fashion-masked.onnx: ")
    assert "Gradients: clear" in honest
    assert masked.startswith("This model hides its gradients")
    for name in ("fashion-honest", "fashion-masked"):
        assert (tmp_path / "demo" / f"{name}.html").stat().st_size > 50_000

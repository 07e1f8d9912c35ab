import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import robcert

from robcert.certify.attacks.corruption import CorruptionSettings
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.transfer_analysis import TransferSettings
from robcert.certify.comparison import ComparisonSettings
from robcert.certify.landscape.surface import SurfaceSettings
from robcert.certify.landscape.taylor import TaylorSettings
from robcert.certify.local_linearity.settings import LinearitySettings
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.number_text import number
from robcert.certify.radius_bounds.settings import BoundsSettings
from robcert.certify.smoothing.attack import SmoothingAttackSettings
from robcert.certify.smoothing.prediction import PredictionSettings
from robcert.certify.smoothing.settings import SmoothingSettings
from robcert.certify.store.json_values import plain
from robcert.cli.main import app
from robcert.trainers.methods.registry import METHODS
from robcert.trainers.recipe.config import TrainConfig

COMMANDS: dict[str, Any] = {
    "linearity": LinearitySettings(),
    "bounds": BoundsSettings(),
    "corruption": CorruptionSettings(),
    "surface": SurfaceSettings(),
    "taylor": TaylorSettings(),
    "smoothing certify": SmoothingSettings(),
    "smoothing predict": PredictionSettings(),
    "smoothing attack": SmoothingAttackSettings(),
}
IN_WORDS = {("attack", "suite"), ("taylor", "step"), ("smoothing certify", "design")}
"""Options whose help says the default in words."""


def command_called(name: str) -> Any:
    node: Any = typer.main.get_command(app)
    for part in name.split():
        node = node.commands[part]
    return node


def defaults_shown(name: str) -> dict[str, str]:
    return {
        option.name: option.show_default
        for option in command_called(name).params
        if isinstance(option.show_default, str) and (name, option.name) not in IN_WORDS
    }


def leaves(name: str = "") -> list[str]:
    children = getattr(command_called(name), "commands", {})
    return [leaf for part in children for leaf in leaves(f"{name} {part}".strip())] or [name]


def test_the_defaults_of_every_command_are_compared() -> None:
    # a plan has the options of the command that it plans, and an item its own settings
    analyses = [name for name in leaves() if not name.startswith(("train ", "plan ", "reproduce"))]
    assert {name for name in analyses if defaults_shown(name)} == {*COMMANDS, "attack"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_shows_the_defaults_of_the_library(name: str) -> None:
    stored = plain(asdict(COMMANDS[name]))
    for option, text in defaults_shown(name).items():
        assert str(stored[option]) == text, option


def test_the_help_of_taylor_and_compare_shows_the_defaults_of_the_library() -> None:
    step = next(o for o in command_called("taylor").params if o.name == "step")
    steps = TaylorSettings().steps
    assert [float(end) for end in step.show_default.split(" to ")] == [min(steps), max(steps)]
    level = next(o for o in command_called("compare").params if o.name == "level")
    assert level.default == ComparisonSettings().level


def test_the_help_of_attack_shows_the_defaults_of_the_library() -> None:
    assert defaults_shown("attack") == {"source_attack": TransferSettings().recipe}


@pytest.mark.parametrize("method", METHODS)
def test_the_help_of_train_shows_the_defaults_of_the_library(method: str) -> None:
    config = TrainConfig.from_json({"method": method})
    stored = {
        **asdict(config),
        **asdict(config.architecture),
        **asdict(config.optimizer),
        **asdict(config.augmentation),
        "keep_every": config.evaluation.keep_every,
        "attack_every": config.evaluation.attack_every,
        "schedule": config.schedule.kind,
        "decay": config.schedule.decay,
        "weight_decay_scope": config.optimizer.decay,
        "arch": config.architecture.name,
        **asdict(config.objective),  # type: ignore[call-overload]
    }
    if method == "free":
        assert stored["step_size"] is None
        stored["step_size"] = "epsilon"
    assert str(stored["clip_norm"]) == "1.0"
    stored["clip_norm"] = "1"
    for option, text in defaults_shown(f"train {method}").items():
        assert shown(stored[option], option) == as_typed(text), option


def shown(value: Any, option: str) -> str:
    """A default as the help says it."""
    if isinstance(value, bool):
        return option.replace("_", "-") if value else f"no-{option.replace('_', '-')}"
    return str(value)


def as_typed(text: str) -> str:
    """``text``, a fraction as the decimal that it stands for."""
    return str(number(text)) if "/" in text else text


def test_standard_is_the_default() -> None:
    assert AttackSettings.of_profile("standard") == AttackSettings()
    assert BoundsSettings.of_profile("standard") == BoundsSettings()
    assert LinearitySettings.of_profile("standard") == LinearitySettings()
    assert MaskingSettings.of_profile("standard") == MaskingSettings()
    assert PredictionSettings.of_profile("standard") == PredictionSettings()
    assert SmoothingAttackSettings.of_profile("standard") == SmoothingAttackSettings()
    assert SmoothingSettings.of_profile("standard") == SmoothingSettings()
    assert TransferSettings.of_profile("standard") == TransferSettings()


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
    assert masked.startswith("This model masks its gradients")
    for name in ("fashion-honest", "fashion-masked"):
        assert (tmp_path / "demo" / f"{name}.html").stat().st_size > 50_000

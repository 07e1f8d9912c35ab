"""robcert train METHOD: what the options say reaches the training, and one run ends with ONNX."""

from __future__ import annotations

import itertools
import json
import typing
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import typer
from command_line import robcert

from robcert.certify.core import Norm
from robcert.certify.numerics.losses import Loss
from robcert.cli.main import app
from robcert.cli.train.train_options import TrainOptions
from robcert.trainers import train as library
from robcert.trainers.methods.adversarial import Adversarial
from robcert.trainers.methods.cure import Cure
from robcert.trainers.methods.free import Free
from robcert.trainers.methods.gradient import Gradient
from robcert.trainers.methods.local_linearity import Llr
from robcert.trainers.methods.registry import METHODS
from robcert.trainers.methods.smoothadv import SmoothAdv
from robcert.trainers.methods.soar import Soar
from robcert.trainers.methods.trades import Trades
from robcert.trainers.recipe.config import TrainConfig
from robcert.trainers.recipe.presets import PRESETS
from robcert.trainers.recipe.schedule import Schedule

if typing.TYPE_CHECKING:
    from robcert.trainers.train import TrainPlan

SHARED = {field.name for field in fields(TrainOptions)}


def methods() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    return dict(root.commands["train"].commands)


def fields_of(method: str) -> list[str]:
    return [field.name for field in fields(typing.cast("Any", METHODS[method]))]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TrainPlan]:
    """Plans that the library received; nothing is trained."""
    found: list[TrainPlan] = []

    def train(plan: TrainPlan, **_: object) -> SimpleNamespace:
        found.append(plan)
        run = SimpleNamespace(warnings=("it overfits",))
        return SimpleNamespace(run=run, model=plan.out / "model.onnx", notes=())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library, "train", train)
    return found


def test_every_method_is_a_command() -> None:
    assert set(methods()) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_field_of_a_method_is_an_option_with_help(method: str) -> None:
    own = [option for option in methods()[method].params if option.name not in {*SHARED, "help"}]
    assert sorted(option.name for option in own) == sorted(fields_of(method))
    assert all(option.help for option in own)


@pytest.mark.parametrize("method", METHODS)
def test_without_options_the_defaults_are_trained(method: str, asked: list[TrainPlan]) -> None:
    ended = robcert("train", method)
    assert ended.status == 0, ended.stderr
    assert ended.stdout == f"{Path('runs') / method / 'model.onnx'}\n"
    assert ended.stderr.splitlines()[0] == "warning: it overfits"
    assert ended.stderr.splitlines()[1].startswith("next: robcert audit --model ")
    assert asked[0].config == TrainConfig(objective=METHODS[method]())
    assert asked[0].pretraining is None


def test_how_images_are_read_reaches_the_training(asked: list[TrainPlan]) -> None:
    words = "train standard --image-size 224 --stream --workers 3"
    assert robcert(*words.split()).status == 0
    assert robcert("train", "standard", "--no-stream").status == 0
    assert [(plan.config.image_size, plan.stream) for plan in asked] == [(224, True), (0, False)]
    assert asked[0].workers == 3
    assert asked[1].workers > 0


def test_quiet_leaves_the_warnings(asked: list[TrainPlan]) -> None:
    assert robcert("train", "standard", "-q").stderr == "warning: it overfits\n"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("arguments", "objective"),
    [
        (
            "adversarial --epsilon 4/255 --norm l2 --steps 3 --step-size 1/255 --rule adam "
            "--loss margin --no-random-start --warmup-epochs 2",
            Adversarial(Norm.L2, 4 / 255, 3, 1 / 255, "adam", Loss.MARGIN, False, 2.0),
        ),
        ("free --step-size 0.01 --replays 2", Free(step_size=0.01, replays=2)),
        ("trades --weight 2 --norm l1 --epsilon 12", Trades(2.0, Norm.L1, 12.0)),
        ("llr --gamma-weight 3 --linear-weight 9", Llr(gamma_weight=3.0, linear_weight=9.0)),
        ("llr --lambda 3 --mu 0", Llr(gamma_weight=3.0, linear_weight=0.0)),
        ("llr --ratio 0.75", Llr(ratio=0.75)),
        ("gradient --norm l1 --scheme exact --power norm",
         Gradient(Norm.L1, scheme="exact", power="norm")),
        ("gradient --scale full", Gradient(scale="full")),
        ("soar --start zero --step-most 4/255 --estimator rms --last",
         Soar(start="zero", step_most=4 / 255, estimator="rms", last=True)),
        ("smoothadv --sigma 1/2 --epsilon 1 --samples 4", SmoothAdv(0.5, 1.0, samples=4)),
    ],
)  # fmt: skip
def test_options_reach_the_method(arguments: str, objective: Any, asked: list[TrainPlan]) -> None:
    ended = robcert("train", *arguments.split())
    assert ended.status == 0, ended.stderr
    assert asked[0].config.objective == objective
    for name in fields_of(asked[0].config.method):
        value = getattr(objective, name)
        assert type(getattr(asked[0].config.objective, name)) is type(value)


def test_options_win_over_a_preset(asked: list[TrainPlan]) -> None:
    ended = robcert("train", "llr", "--preset", "llr-wrn28", "--steps", "4", "--width", "8")
    assert ended.status == 0, ended.stderr
    recipe = PRESETS["llr-wrn28"].config
    assert "note: " not in ended.stderr
    assert asked[0].config == replace(
        recipe,
        objective=replace(typing.cast("Llr", recipe.objective), steps=4),
        architecture=replace(recipe.architecture, width=8),
    )


def test_shared_options_reach_the_loop(asked: list[TrainPlan]) -> None:
    given = "--schedule cosine --weight-decay 0.001 --attack-every 2 --learning-rate 0.2"
    ended = robcert("train", "standard", *given.split())
    assert ended.status == 0, ended.stderr
    config = asked[0].config
    assert (config.schedule.kind, config.optimizer.weight_decay) == ("cosine", 0.001)
    assert (config.evaluation.attack_every, config.optimizer.learning_rate) == (2, 0.2)


def test_options_of_the_descent_reach_the_loop(asked: list[TrainPlan]) -> None:
    given = (
        "--schedule steps --milestones 2,4.5 --decay 1/4 --epochs 6 --momentum 0.8 --nesterov "
        "--weight-decay-scope weights --clip-norm none"
    )
    ended = robcert("train", "standard", *given.split())
    assert ended.status == 0, ended.stderr
    assert "note: " not in ended.stderr
    schedule, optimizer = asked[0].config.schedule, asked[0].config.optimizer
    assert schedule == Schedule("steps", (2.0, 4.5), 0.25)
    assert (optimizer.momentum, optimizer.nesterov, optimizer.decay) == (0.8, True, "weights")
    assert optimizer.clip_norm is None
    ended = robcert("train", "standard", "--clip-norm", "1/2", "--momentum", "0")
    assert ended.status == 0, ended.stderr
    assert (asked[1].config.optimizer.clip_norm, asked[1].config.optimizer.momentum) == (0.5, 0)


def test_typed_milestones_are_not_stretched_with_those_of_a_preset(asked: list[TrainPlan]) -> None:
    shared = ("--preset", "llr-adv", "--epochs", "22")
    assert "the learning rate falls at 20, 21" in robcert("train", "adversarial", *shared).stderr
    ended = robcert("train", "adversarial", *shared, "--milestones", "3,7")
    assert "learning rate falls" not in ended.stderr
    assert [plan.config.schedule.milestones for plan in asked] == [(20, 21), (3, 7)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--milestones 3", "--milestones has no effect with the schedule onecycle"),
        ("--schedule cosine --decay 0.5", "--decay has no effect with the schedule cosine"),
        ("--schedule steps", "the schedule steps needs epochs at which the learning rate falls"),
        ("--schedule steps --milestones 5,2", "in rising order, got 5, 2"),
        ("--schedule steps --milestones 0,2", "in rising order, got 0, 2"),
        ("--schedule steps --milestones 99", "the learning rate is to fall at epoch 99"),
        ("--schedule steps --milestones 2 --decay 2", "must lie in (0, 1], got 2"),
        ("--schedule steps --milestones 2,,3", "--milestones: '' is not a number"),
        ("--momentum 1", "momentum must lie in [0, 1), got 1"),
        ("--momentum 0 --nesterov", "needs a momentum above 0"),
        ("--weight-decay=-1", "weight decay must be 0 or more"),
        ("--clip-norm 0", "clip_norm must be a positive finite number"),
        ("--clip-norm all", "--clip-norm: 'all' is not a number"),
    ],
)
def test_what_the_descent_cannot_be_is_refused(arguments: str, message: str) -> None:
    ended = robcert("train", "standard", *arguments.split())
    assert ended.status == 2
    assert message in ended.stderr


def test_the_first_network_of_a_preset_is_trained_on_the_same_images(
    asked: list[TrainPlan],
) -> None:
    shared = ("--data", "fashion-mnist-2000", "--subset", "50", "--epochs", "2")
    assert robcert("train", "soar", "--preset", "soar-v1", *shared).status == 0
    first = PRESETS["soar-standard"].config
    expected = replace(first.lasting(2), data="fashion-mnist-2000", subset=50)
    assert asked[0].pretraining == expected


def objective_of(arguments: str, asked: list[TrainPlan]) -> Any:
    """The objective that `robcert train ARGUMENTS` trains."""
    ended = robcert("train", *arguments.split())
    assert ended.status == 0, ended.stderr
    return asked[-1].config.objective


def test_mu_as_typed_wins_over_a_ratio(asked: list[TrainPlan], tmp_path: Path) -> None:
    preset = "llr --preset llr-code"
    assert objective_of(f"{preset} --mu 2.5", asked).mu == 2.5
    assert objective_of(f"{preset} --linear-weight 0", asked).mu == 0.0
    assert objective_of(f"{preset} --lambda 2", asked).mu == pytest.approx(0.6)
    assert objective_of("llr --preset llr-wrn28 --ratio 0.25", asked).mu == 1.0
    file = tmp_path / "config.json"
    file.write_text(json.dumps(PRESETS["llr-code"].config.to_json()))
    assert objective_of(f"llr --config {file} --mu 7", asked).mu == 7.0


@pytest.mark.parametrize("method", METHODS)
def test_each_option_of_a_method_is_heeded_whatever_the_preset(
    method: str, asked: list[TrainPlan]
) -> None:
    """Every number of a method, set over a preset that uses it, is the number that is trained."""
    hints = typing.get_type_hints(typing.cast("Any", METHODS[method]))
    numbers = {name for name in fields_of(method) if hints[name] in (float, float | None)}
    presets = [name for name, preset in PRESETS.items() if preset.config.method == method]
    # mu has two options
    twice = ("ratio", "linear_weight") if "ratio" in numbers else ("",)
    for preset, left_out in itertools.product(presets, twice):
        names = sorted(numbers - {left_out} - PRESETS[preset].config.objective.unused.keys())
        typed = " ".join(f"--{name.replace('_', '-')} 0.0425" for name in names)
        objective = objective_of(f"{method} --preset {preset} {typed}", asked)
        assert {getattr(objective, name) for name in names} <= {0.0425}
        if "ratio" in numbers:
            assert objective.mu == (0.0425 if left_out == "ratio" else 0.0425**2)


def test_fewer_epochs_shorten_warmup_and_milestones(asked: list[TrainPlan]) -> None:
    ended = robcert("train", "llr", "--preset", "llr-wrn28", "--epochs", "11")
    assert ended.status == 0, ended.stderr
    config = asked[0].config
    assert config.objective.warmup == pytest.approx(1.5)
    assert config.schedule.milestones == pytest.approx((10, 10.5))
    assert ended.stderr.splitlines()[:2] == [
        "note: in 11 epochs instead of 110, the warm-up takes 1.5 instead of 15",
        "note: in 11 epochs instead of 110, the learning rate falls at 10, 10.5 instead of "
        "100, 105",
    ]
    assert robcert("train", "cure", "--epochs", "1").status == 0
    assert asked[1].config.objective == Cure(step_epochs=1 / 3)


def test_more_epochs_lengthen_them(asked: list[TrainPlan]) -> None:
    ended = robcert("train", "llr", "--preset", "llr-in16", "--epochs", "110")
    assert ended.status == 0, ended.stderr
    assert asked[0].config.objective.warmup == pytest.approx(40)
    assert asked[0].config.schedule.milestones == pytest.approx((34, 70, 100))


def test_only_data_that_nobody_named_may_be_replaced(
    asked: list[TrainPlan], tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(TrainConfig().to_json()))
    for typed in ("", "--data fashion-mnist", f"--config {file}"):
        assert robcert("train", "standard", *typed.split()).status == 0
    assert [plan.substitute for plan in asked] == [True, False, False]


def test_a_typed_warmup_and_schedule_stay_as_they_are(asked: list[TrainPlan]) -> None:
    typed = "llr --preset llr-wrn28 --epochs 11 --warmup-epochs 4 --schedule cosine"
    ended = robcert("train", *typed.split())
    assert ended.status == 0, ended.stderr
    assert asked[0].config.objective.warmup == 4
    assert "note: " not in ended.stderr


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_named_in_the_help_of_its_method(name: str) -> None:
    text = methods()[PRESETS[name].config.method].help
    presets = " ".join(text.split()).split("Preset")[1]
    assert name in presets.replace(":", " ").replace(",", " ").removesuffix(".").split()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("adversarial --steps 0", "steps must be at least 1"),
        ("adversarial --epsilon 0", "epsilon must be a positive"),
        ("adversarial --epsilon eight", "--epsilon: 'eight' is not a number"),
        ("adversarial --norm l7", "l7"),
        ("adversarial --norm l2", "--norm l2 needs --epsilon: 8/255 is a radius in linf"),
        ("trades --norm l1", "--norm l1 needs --epsilon"),
        ("llr --preset llr", "llr-wrn28"),
        ("llr --preset soar-v1", "robcert train soar"),
        ("llr --preset llr-wrn28 --config config.json", "exclude"),
        ("llr --config missing.json", "missing.json"),
        ("llr --mu 1 --ratio 0.5", "both set mu"),
        ("llr --preset llr-code --linear-weight 1 --ratio 0.5", "both set mu"),
        ("gradient --scheme exact --step 0.1", "--step has no effect with scheme exact"),
        ("gradient --norm l2 --scale full", "--scale has no effect with norm l2"),
        ("gradient --preset igr-l2-1 --scale mean", "--scale has no effect with norm l2"),
        ("soar --start random --step-size 1/255", "--step-size has no effect"),
        ("standard --arch linear --width 4", "--width has no effect"),
        ("standard --arch torchvision:resnet18 --activation softplus", "--activation has no"),
        ("llr --epochs 2 --warmup-epochs 3", "the warm-up of 3 epochs is not shorter"),
        ("llr --epochs 2 --warmup-epochs 2", "the warm-up of 2 epochs is not shorter"),
        ("adversarial --warmup-epochs 15", "the warm-up of 15 epochs is not shorter"),
        ("smoothadv --warmup-epochs 90", "the warm-up of 90 epochs is not shorter"),
        ("cure --epochs 4 --step-epochs 5", "the warm-up of 5 epochs is not shorter"),
        ("cure --step-epochs -1", "0 epochs or more"),
        ("standard --epochs 0", "epochs must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: str, word: str, asked: list[TrainPlan]) -> None:
    ended = robcert("train", *arguments.split())
    assert ended.status == 2
    assert ended.stderr.startswith("error: ")
    assert len(ended.stderr.splitlines()) <= 2
    assert "bug in robcert" not in ended.stderr
    assert word in ended.stderr
    assert asked == []


def test_a_barely_trained_network_is_called_that_everywhere(tmp_path: Path) -> None:
    """Its own accuracy tells that neither normalisation nor layout is the reason."""
    tiny = ("--data", "fashion-mnist-2000", "--subset", "64", "--epochs", "1", "--arch", "linear")
    out, said = tmp_path / "run", "barely trained: at the end of its training (1 epoch) it "
    ended = robcert("train", "standard", *tiny, "--learning-rate", "1e-6", "--out", str(out))
    assert ended.status == 0, ended.stderr
    assert f"\nwarning: {said}" in ended.stderr
    data = ("--data", "fashion-mnist-2000")
    refused = robcert("linearity", "--model", str(out), *data, "--out", str(tmp_path / "r.h5"))
    assert refused.status == 2
    assert f"\nhint: {said}" in refused.stderr
    inspected = robcert("inspect", "--model", str(out / "model.onnx"), *data)
    assert f"clean accuracy is at chance: {said}" in inspected.stderr + inspected.stdout
    for text in (refused.stderr, inspected.stderr + inspected.stdout):
        assert "usual causes" not in text
        assert "if so, pass" not in text


@pytest.mark.slow
def test_a_trained_network_has_no_such_warning(tmp_path: Path) -> None:
    longer = ("--data", "fashion-mnist-2000", "--epochs", "2", "--arch", "linear")
    ended = robcert("train", "standard", *longer, "--out", str(tmp_path / "run"))
    assert ended.status == 0, ended.stderr
    assert "warning: " not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_and_exports(method: str, tmp_path: Path) -> None:
    tiny = ("--data", "fashion-mnist-2000", "--subset", "256", "--epochs", "1", "--arch", "mlp")
    out = tmp_path / method
    ended = robcert("train", method, *tiny, "--width", "16", "--out", str(out))
    assert ended.status == 0, ended.stderr
    assert ended.stdout == f"{out / 'model.onnx'}\n"
    assert "epoch 1: loss " in ended.stderr or method == "free"
    onnx.checker.check_model(onnx.load(out / "model.onnx"))

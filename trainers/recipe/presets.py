"""Presets: the papers' recipes for CIFAR-10 and ImageNet, on all training images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.numerics import Loss
from robcert.trainers.data import Augmentation
from robcert.trainers.methods import (
    Adversarial,
    Cure,
    Free,
    Gaussian,
    Gradient,
    Llr,
    Soar,
    Standard,
    Trades,
)
from robcert.trainers.networks import Architecture

from .config import Optimizer, TrainConfig
from .schedule import Schedule


@dataclass(frozen=True, slots=True)
class Preset:
    """A paper's recipe.

    Attributes:
        doc: source of the recipe, and the choices that the source leaves open.
        config: the recipe.
        pretraining: preset that trains the initial weights; empty for random weights.
    """

    doc: str
    config: TrainConfig
    pretraining: str = ""


def preset(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        InvalidParameterError: there is no such preset.
    """
    if name not in PRESETS:
        message = f"there is no preset named {name!r}"
        raise InvalidParameterError(message, hint=f"one of: {', '.join(PRESETS)}")
    return PRESETS[name]


def _sgd(rate: float, weight_decay: float, decay: Literal["all", "weights"] = "all") -> Optimizer:
    """Optimiser with momentum 0.9 and no clipping, as in all of the papers."""
    return Optimizer(rate, weight_decay=weight_decay, decay=decay, clip_norm=None)


_CROP_AND_FLIP = Augmentation(crop=4, flip=True)

_LLR = TrainConfig(
    objective=Llr(steps=10, linear_weight=2.0, warmup_epochs=15),
    architecture=Architecture("wrn-28-8", activation="softplus"),
    data="cifar10",
    validation=False,
    epochs=110,
    batch_size=256,
    optimizer=_sgd(0.1, 2e-4, decay="weights"),
    schedule=Schedule("steps", milestones=(100, 105)),
    augmentation=_CROP_AND_FLIP,
)
_LLR_4 = Llr(
    epsilon=4 / 255,
    gamma_weight=3.0,
    linear_weight=6.0,
    nominal_weight=3.0,
    steps=2,
    warmup_epochs=20,
)
_LLR_IMAGENET = replace(
    _LLR,
    objective=_LLR_4,
    architecture=Architecture("resnet152", activation="softplus"),
    data="imagenet",
    epochs=100,
    batch_size=512,
    optimizer=_sgd(0.1, 1e-4, decay="weights"),
    schedule=Schedule("steps", milestones=(35, 70, 95)),
)
_LLR_IMAGENET_16 = replace(
    _LLR_IMAGENET,
    objective=Llr(16 / 255, 3.0, 9.0, 3.0, steps=10, warmup_epochs=20),
    epochs=55,
    schedule=Schedule("steps", milestones=(17, 35, 50)),
)
_WIDEST = Architecture("wrn-28-10", activation="softplus")
_LLR_BASELINE = Adversarial(steps=20, step_size=0.1, rule="adam", loss=Loss.MARGIN)

_IGR = TrainConfig(
    objective=Standard(),
    architecture=Architecture("resnext34-2x32"),
    data="cifar10",
    validation=False,
    epochs=200,
    batch_size=128,
    optimizer=_sgd(0.1, 5e-4),
    schedule=Schedule("steps", milestones=(60, 120, 160), decay=0.2),
    augmentation=Augmentation(crop=4, flip=True, cutout=16),
    normalize=False,
)
_IGR_IMAGENET = replace(
    _IGR,
    architecture=Architecture("resnet50"),
    data="imagenet",
    epochs=90,
    batch_size=256,
    optimizer=_sgd(0.1, 1e-4),
    schedule=Schedule("steps", milestones=(30, 60)),
    augmentation=_CROP_AND_FLIP,
)
_SOAR_STANDARD = TrainConfig(
    objective=Standard(),
    architecture=Architecture("cnn4"),
    data="cifar10",
    validation=False,
    epochs=200,
    batch_size=128,
    optimizer=_sgd(0.01, 2e-4),
    schedule=Schedule("steps", milestones=(100, 150)),
    augmentation=_CROP_AND_FLIP,
    normalize=False,
)
_SOAR = replace(
    _SOAR_STANDARD,
    objective=Soar(),
    epochs=150,
    optimizer=_sgd(0.002, 2e-4),
    schedule=Schedule("steps", milestones=(90, 100)),
)
_ADV1 = Adversarial(steps=1, step_size=2 / 255)
_COHEN = TrainConfig(
    objective=Gaussian(),
    architecture=Architecture("resnet110"),
    data="cifar10",
    validation=False,
    epochs=90,
    batch_size=256,
    optimizer=_sgd(0.1, 1e-4),
    schedule=Schedule("steps", milestones=(30, 60)),
    augmentation=_CROP_AND_FLIP,
)


def _steps(count: int) -> str:
    return "one step" if count == 1 else f"{count} steps"


def _imagenet_baselines() -> dict[str, Preset]:
    """Baselines of Table 3, with the schedule of LLR at the same radius.

    The paper gives their number of steps alone: those at 4/255 are re-creations, those at 16/255
    networks that others published. The step of 1/255 is that of the denoising paper.
    """
    found = {}
    for radius, like in ((4, _LLR_IMAGENET), (16, _LLR_IMAGENET_16)):
        objective = Adversarial(epsilon=radius / 255, steps=30, step_size=1 / 255)
        for name, denoise in (("adv", False), ("denoise", True)):
            blocks = " and denoising blocks" if denoise else ""
            found[f"{name}-30-in{radius}"] = Preset(
                f"Qin et al. 2019, Table 3: adversarial training with 30 steps{blocks} at "
                f"{radius}/255; steps of 1/255, LLR's schedule",
                replace(
                    like,
                    objective=objective,
                    architecture=replace(like.architecture, denoise=denoise),
                ),
            )
    return found


def _few_steps() -> dict[str, Preset]:
    """LLR and adversarial training by the number of steps of the inner maximisation."""
    return {
        **{
            f"llr-{steps}": Preset(
                f"Qin et al. 2019, Figure 4 and Table F4: {_steps(steps)} of PGD, mu 0",
                replace(_LLR, objective=Llr(steps=steps, linear_weight=0.0, warmup_epochs=15)),
            )
            for steps in (1, 2)
        },
        **{
            f"adv-{steps}": Preset(
                f"Qin et al. 2019, Figure 2 and Table A1: adversarial training with {_steps(steps)}"
                " of PGD (margin loss, Adam, as in the released code); Table F4 has wrn-28-8",
                replace(_LLR, architecture=_WIDEST, objective=replace(_LLR_BASELINE, steps=steps)),
            )
            for steps in (1, 2, 4, 8, 16)
        },
    }


def _llr() -> dict[str, Preset]:
    wide = Architecture("wrn-40-8", activation="softplus")
    return {
        "llr-wrn28": Preset("Qin et al. 2019, Table 2a: lambda 4, mu 2, ten steps", _LLR),
        "llr-wrn40": Preset(
            "Qin et al. 2019, Table 2b: lambda 4, mu 3, fifteen steps",
            replace(
                _LLR, architecture=wide, objective=Llr(steps=15, linear_weight=3, warmup_epochs=15)
            ),
        ),
        "llr-code": Preset(
            "LLR's released code: lambda 4, mu 1.2, batches of 64, ten steps as in Table 2a",
            replace(
                _LLR,
                objective=Llr(steps=10, ratio=0.3, warmup_epochs=0.64),
                epochs=128,
                batch_size=64,
                schedule=Schedule("steps", milestones=(102.4, 112.6, 122.9)),
            ),
        ),
        "llr-in4": Preset("Qin et al. 2019, Table 3a: ImageNet, 4/255", _LLR_IMAGENET),
        "llr-in16": Preset(
            "Qin et al. 2019, Table 3b: ImageNet, 16/255; the printed warm-up of 90 epochs in a "
            "training of 55 is a misprint, here it is 20",
            _LLR_IMAGENET_16,
        ),
        "llr-wrn28-mu0": Preset(
            "Qin et al. 2019, Table F3: llr-wrn28 without the linear term",
            replace(_LLR, objective=Llr(steps=10, linear_weight=0.0, warmup_epochs=15)),
        ),
        "llr-in4-mu0": Preset(
            "Qin et al. 2019, Table F3: llr-in4 without the linear term",
            replace(_LLR_IMAGENET, objective=replace(_LLR_4, linear_weight=0.0)),
        ),
        **_few_steps(),
        **_imagenet_baselines(),
        "llr-adv": Preset(
            "adversarial training of LLR's released code: margin loss, Adam, twenty steps",
            replace(_LLR, objective=_LLR_BASELINE),
        ),
        "llr-cure": Preset("CURE with LLR's network and schedule", replace(_LLR, objective=Cure())),
        **{
            f"trades-{weight}": Preset(
                f"TRADES with weight {weight} with LLR's network and schedule (Table F2)",
                replace(_LLR, objective=Trades(weight=weight)),
            )
            for weight in (2, 4, 6, 8)
        },
    }


def _igr() -> dict[str, Preset]:
    l1_01 = Gradient(weight=0.1, step=0.01)
    penalties = {
        "igr-l1-0.1": ("l1, lambda 0.1, h 0.01", l1_01),
        "igr-l1-1": ("l1, lambda 1, h 0.1", replace(l1_01, weight=1.0, step=0.1)),
        "igr-l2-0.1": ("l2, lambda 0.1, h 0.01", replace(l1_01, norm=Norm.L2)),
        "igr-l2-1": ("l2, lambda 1, h 0.01", replace(l1_01, norm=Norm.L2, weight=1.0)),
        **{
            f"igr-dbp-{norm.dual.value}-{weight:g}": (
                f"{norm.dual.value}, lambda {weight:g}, double backpropagation",
                Gradient(norm=norm, weight=weight, scheme="exact"),
            )
            for norm in (Norm.LINF, Norm.L2)
            for weight in (0.1, 1.0)
        },
        **{
            f"igr-l1-1-h{step:g}": (
                f"l1, lambda 1, h {step:g} (Table B.4)",
                replace(l1_01, weight=1.0, step=step),
            )
            for step in (1e-4, 1e-3, 1e-2, 1.0)
        },
    }
    source = "Finlay & Oberman 2019, Tables 1 and 2"
    imagenet = {
        f"igr-in-l2-{weight:g}": replace(
            _IGR_IMAGENET, objective=Gradient(norm=Norm.L2, weight=weight, step=0.01)
        )
        for weight in (0.1, 1.0)
    }
    attacks = {
        f"igr-at-{radius}": Preset(
            f"{source}: seven-step adversarial training at {radius}/255",
            replace(_IGR, objective=Adversarial(epsilon=radius / 255, random_start=False)),
        )
        for radius in (2, 8)
    }
    free = {
        f"free-{m}": Preset(
            f"{source}: 'for free', m = {m}", replace(_IGR, objective=Free(replays=m))
        )
        for m in (2, 8)
    }
    return {
        "igr-standard": Preset(f"{source}: undefended", _IGR),
        **{
            k: Preset(f"{source}: {doc}", replace(_IGR, objective=o))
            for k, (doc, o) in penalties.items()
        },
        **attacks,
        **free,
        **{
            name: Preset(
                f"{source}: ImageNet, ResNet-50; the usual schedule and one size of images instead "
                "of the growing sizes of the released code, the penalty on pixels in [0, 1]",
                config,
            )
            for name, config in {"igr-in-standard": _IGR_IMAGENET, **imagenet}.items()
        },
    }


def _soar() -> dict[str, Preset]:
    source = "Ma, Faghri, Farahmand 2020, Table 1"
    adv7 = replace(_SOAR_STANDARD, objective=Adversarial(steps=7))
    return {
        "soar-standard": Preset(f"{source}: Standard", _SOAR_STANDARD),
        "soar-adv7": Preset(f"{source}: Adv7", adv7),
        "soar-v1": Preset(f"{source}: SOAR after Standard", _SOAR, pretraining="soar-standard"),
        "soar-adv1-scratch": Preset(
            f"{source}: Adv1-scratch, Standard's schedule", replace(_SOAR_STANDARD, objective=_ADV1)
        ),
        "soar-adv1-pretrain": Preset(
            f"{source}: Adv1-pretrain, SOAR's schedule",
            replace(_SOAR, objective=_ADV1),
            pretraining="soar-standard",
        ),
    }


def _cohen() -> dict[str, Preset]:
    return {
        f"cohen-{sigma:g}": Preset(
            f"Cohen, Rosenfeld, Kolter 2019: CIFAR-10, sigma {sigma:g}",
            replace(_COHEN, objective=Gaussian(sigma)),
        )
        for sigma in (0.12, 0.25, 0.5, 1.0)
    }


PRESETS: dict[str, Preset] = {**_llr(), **_igr(), **_soar(), **_cohen()}
"""Presets by name."""

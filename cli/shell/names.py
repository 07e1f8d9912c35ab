"""Names for shell completion, listed here because their catalogues take a second to import.

A test compares each list with its catalogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DATA_SETS = (
    *("fashion-mnist-2000", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "svhn"),
    *("stl10", "imagenet"),
)
TRAINING_SETS = DATA_SETS[:-1]
ATTACKS = (
    *("fgsm", "fgsm-20", "pgd", "pgd-ce", "pgd-adam", "multi-targeted", "random-targeted", "fmn"),
    *("ddn", "deepfool", "apgd-ce", "apgd-dlr", "apgd-targeted", "cw", "logbarrier", "boundary"),
    *("hopskipjump", "spatial", "llr-pgd50", "llr-untargeted", "llr-random-targeted"),
    *("llr-multi-targeted", "soar-pgd7", "soar-pgd20", "soar-l2-pgd100", "square", "noise"),
    "gaussian",
)
AUDIT_PARTS = ("inspect", "linearity", "bounds", "attack", "verify", "smoothing", "masking")
ARCHITECTURES = (
    *("cnn4", "mlp", "linear", "resnet-small", "resnet18", "resnet50", "resnet152", "resnet110"),
    *("resnext34-2x32", "wrn-28-8", "wrn-28-10", "wrn-40-8"),
)
PRESETS = {
    "standard": ("igr-standard", "igr-in-standard", "soar-standard"),
    "adversarial": (
        *("adv-1", "adv-2", "adv-4", "adv-8", "adv-16", "llr-adv", "adv-30-in4", "adv-30-in16"),
        *("denoise-30-in4", "denoise-30-in16", "igr-at-2", "igr-at-8", "soar-adv7"),
        *("soar-adv1-scratch", "soar-adv1-pretrain"),
    ),
    "free": ("free-2", "free-8"),
    "trades": ("trades-2", "trades-4", "trades-6", "trades-8"),
    "cure": ("llr-cure",),
    "llr": (
        *("llr-wrn28", "llr-wrn40", "llr-code", "llr-in4", "llr-in16", "llr-1", "llr-2"),
        *("llr-wrn28-mu0", "llr-in4-mu0"),
    ),
    "gradient": (
        *("igr-l1-0.1", "igr-l1-1", "igr-l2-0.1", "igr-l2-1", "igr-dbp-l1-0.1", "igr-dbp-l1-1"),
        *("igr-dbp-l2-0.1", "igr-dbp-l2-1", "igr-l1-1-h0.0001", "igr-l1-1-h0.001"),
        *("igr-l1-1-h0.01", "igr-l1-1-h1", "igr-in-l2-0.1", "igr-in-l2-1"),
    ),
    "soar": ("soar-v1",),
    "gaussian": ("cohen-0.12", "cohen-0.25", "cohen-0.5", "cohen-1"),
}
"""Recipes of each training method."""


def completing(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Function that completes an option's value from ``names``."""

    def complete(incomplete: str) -> list[str]:
        return [str(name) for name in names if name.startswith(incomplete)]

    return complete


def presets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Recipes of the method that is being typed, `robcert train METHOD`."""
    return completing(PRESETS.get(ctx.info_name or "", ()))(incomplete)


def groups(ctx: typer.Context, incomplete: str) -> list[str]:
    """Groups of the results file that was typed before."""
    from pathlib import Path

    from robcert.certify.errors import RobcertError
    from robcert.certify.exports import groups as groups_of
    from robcert.certify.store import ResultStore

    typed = [ctx.params.get("results"), *ctx.args]  # after `--group`, Typer keeps it in args
    file = Path(str(next(filter(None, typed), "")))
    try:
        with ResultStore.read(file) as store:
            paths = [group.path.strip("/") for group in groups_of(store)]
    except (RobcertError, OSError):
        return []
    return completing(paths)(incomplete)

"""Options that several training methods have, declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from robcert.certify import core

from ..shell import values
from ..shell.options import norm_option


def quantity(name: str, doc: str, default: str | bool, *others: str) -> Any:
    """Option for a number that may be written as a fraction, such as 8/255.

    Args:
        name: of the option.
        doc: what it is, with its unit.
        default: as the help shows it; False for none.
        others: other names of the same option.
    """
    return typer.Option(
        name, *others, help=doc, show_default=default, parser=values.number, metavar="<float>"
    )


Epsilon = Annotated[
    float | None, quantity("--epsilon", "Radius of the ball, pixel units of [0, 1].", "8/255")
]
Norm = Annotated[core.Norm | None, norm_option("Norm of the ball.", show_default="linf")]
Sigma = Annotated[float | None, quantity("--sigma", "Noise level, pixel units of [0, 1].", "0.25")]
Power = Annotated[
    Literal["squared", "norm"] | None,
    typer.Option("--power", help="Penalise the norm's square or the norm.", show_default="squared"),
]


def warmup_option(default: str) -> Any:
    """Option for the epochs over which the radius grows."""
    return quantity("--warmup-epochs", "Epochs over which epsilon grows from 0.", default)


def step_length(default: str) -> Any:
    """Option for the length of a step."""
    return quantity("--step-size", "Length of a step, pixel units of [0, 1].", default)


def step_count(default: str) -> Any:
    """Option for the number of gradient steps."""
    return typer.Option("--steps", help="Gradient steps of the ascent.", show_default=default)

"""`robcert train METHOD`: trains a network and exports it as ONNX."""

from __future__ import annotations

import typer

from .train_attacks import adversarial, free, gaussian, smoothadv, standard, trades
from .train_penalties import cure, gradient, jacobian, llr, soar

train = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train a network, export it as ONNX and print the command that audits it.",
)

for _method in (standard, adversarial, free, trades, cure, llr, gradient, jacobian, soar):
    train.command()(_method)
for _method in (gaussian, smoothadv):
    train.command()(_method)

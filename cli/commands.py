"""The commands of robcert in the order of its help; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable

import typer

from .shell.command_group import LazyCommand

Loaded = Callable[..., None]


def _demo() -> Loaded:
    from .demo import demo

    return demo


def _init() -> Loaded:
    from .init import init

    return init


def _inspect() -> Loaded:
    from .inspection import inspect

    return inspect


def _audit() -> Loaded:
    from .audit import audit

    return audit


def _plan() -> typer.Typer:
    from .plan import plan

    return plan


def _linearity() -> Loaded:
    from .linearity import linearity

    return linearity


def _bounds() -> Loaded:
    from .bounds import bounds

    return bounds


def _attack() -> Loaded:
    from .attack import attack

    return attack


def _corruption() -> Loaded:
    from .corruption import corruption

    return corruption


def _verify() -> Loaded:
    from .verify import verify

    return verify


def _check_proof() -> Loaded:
    from .check_proof import check_proof

    return check_proof


def _smoothing() -> typer.Typer:
    from .smoothing import smoothing

    return smoothing


def _masking_check() -> Loaded:
    from .masking import masking_check

    return masking_check


def _surface() -> Loaded:
    from .surface import surface

    return surface


def _taylor() -> Loaded:
    from .taylor import taylor

    return taylor


def _report() -> Loaded:
    from .report import report

    return report


def _evidence() -> Loaded:
    from .evidence import evidence

    return evidence


def _compare() -> Loaded:
    from .compare import compare

    return compare


def _merge() -> Loaded:
    from .merge import merge

    return merge


def _show() -> Loaded:
    from .show import show

    return show


def _train() -> typer.Typer:
    from .train.train import train

    return train


def _reproduce() -> Loaded:
    from .reproduce import reproduce

    return reproduce


def _export() -> Loaded:
    from .export import export

    return export


def _datasets() -> Loaded:
    from .catalogue import datasets

    return datasets


def _attacks() -> Loaded:
    from .catalogue import attacks

    return attacks


def _architectures() -> Loaded:
    from .catalogue import architectures

    return architectures


def _doctor() -> Loaded:
    from .doctor import doctor

    return doctor


COMMANDS = {
    "demo": LazyCommand(
        "Audit two bundled models, one honest and one masked, and write both reports.", _demo
    ),
    "init": LazyCommand(
        "Write robcert.toml, the defaults of options and the gates of this folder.", _init
    ),
    "inspect": LazyCommand(
        "Show what a model file is: inputs, outputs, preprocessing, gradients, accuracy.", _inspect
    ),
    "audit": LazyCommand("Run every analysis on a model and write the report.", _audit),
    "plan": LazyCommand(
        "Say what an analysis or audit will take: passes, time, file; nothing is saved.", _plan
    ),
    "linearity": LazyCommand(
        "Local linearity: how far the loss deviates from its tangent within ε (γ).", _linearity
    ),
    "bounds": LazyCommand(
        "Radii from extreme-value estimates: ρ-, L-, ω-, γ- and curvature bounds.", _bounds
    ),
    "attack": LazyCommand(
        "Find the nearest adversarial example of each image by a suite of attacks.", _attack
    ),
    "corruption": LazyCommand(
        "Accuracy under random rotation and shift, and under Gaussian noise.", _corruption
    ),
    "verify": LazyCommand(
        "Certify the model itself: largest proven radius and robust accuracy from both sides.",
        _verify,
    ),
    "check-proof": LazyCommand(
        "Prove the statements of a proof file again, independently of the prover.", _check_proof
    ),
    "smoothing": LazyCommand(
        "Randomized smoothing: certified numbers for the smoothed classifier.", _smoothing
    ),
    "masking-check": LazyCommand(
        "Gradient masking: is the model robust, or does it only hide its gradients?", _masking_check
    ),
    "surface": LazyCommand(
        "Loss surface: loss and classes in the plane of an attack and a random direction.", _surface
    ),
    "taylor": LazyCommand(
        "Taylor curves: the loss along a line and its second-order approximations.", _taylor
    ),
    "report": LazyCommand(
        "Write a self-contained HTML page from results files, or tables or rows of one.", _report
    ),
    "evidence": LazyCommand(
        "Write what a results file shows as statements for other people and programs.", _evidence
    ),
    "compare": LazyCommand(
        "Main numbers of several models, and paired differences on the same images and settings.",
        _compare,
    ),
    "merge": LazyCommand(
        "Join the results files of --shard, or of other parts of one data set.", _merge
    ),
    "show": LazyCommand("Print or export what a results file holds.", _show),
    "train": LazyCommand(
        "Train a network, export it as ONNX and print the command that audits it.", _train
    ),
    "reproduce": LazyCommand(
        "Train and analyse the models of a paper's table or figure; print its numbers beside ours.",
        _reproduce,
    ),
    "export": LazyCommand(
        "Write a checkpoint as ONNX, with logits, dynamic batch, preprocessing and provenance.",
        _export,
    ),
    "datasets": LazyCommand("List the data sets that --data takes by name.", _datasets),
    "attacks": LazyCommand(
        "List the attacks that robcert attack --attack takes by name.", _attacks
    ),
    "architectures": LazyCommand(
        "List the architectures that robcert train can build.", _architectures
    ),
    "doctor": LazyCommand(
        "Show versions, devices and bundled files, or what is whole in a damaged results file.",
        _doctor,
    ),
}
"""The first argument is what the help lists; a test compares it with the command's own help."""

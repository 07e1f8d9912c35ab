"""`robcert datasets`, `attacks` and `architectures`: lists of names."""

from __future__ import annotations

from .shell.echo import echo


def datasets() -> None:
    """List the data sets that --data takes by name.

    Prints names only, no numbers about a model.

    Example: robcert datasets
    """
    from robcert.certify.data import NAMED, bundled_sets

    for name in bundled_sets():
        echo(f"{name:22} bundled with robcert")
    for name, entry in NAMED.items():
        echo(f"{name:22} {entry.doc}; downloaded, or read from --data-root")
    echo(f"{'imagenet':22} validation images, read from --data-root")
    echo("Also: .npz, .npy and HDF5 files, folders of images, idx files. NAME:train means the")
    echo("training images of NAME.")


def attacks() -> None:
    """List the attacks that robcert attack --attack takes by name.

    Prints names only, no numbers about a model.

    Example: robcert attacks
    """
    from robcert.certify.attacks import CATALOGUE

    for name, attack in CATALOGUE.items():
        needs = "" if attack.gradient else "; no gradient"
        echo(f"{name:20} {attack.doc} ({', '.join(attack.norms)}{needs})")


def architectures() -> None:
    """List the architectures that robcert train can build.

    Prints names only, no numbers about a model.

    Example: robcert architectures
    """
    from robcert.trainers.networks import describe, names

    for name in names():
        echo(f"{name:16} {describe(name)}")
    echo("torchvision:NAME any classification model of torchvision")
    echo("module:factory   your own function factory(image_shape=(c, h, w), num_classes=k);")
    echo("                 imported only if --arch names it, never if only a file names it")
    echo("Activations: relu, softplus, c2relu. Residual networks also take --denoise.")

"""Robust accuracy at a radius: `robcert attack --suite quick` against AutoAttack's standard.

    python benchmarks/autoattack.py --zoo ../shared/zoo --images 20

For each robust network: the whole command ``robcert attack --suite quick --fixed-radius`` in a
process of its own, and AutoAttack (Croce & Hein 2020, arXiv:2003.01690) in another, which loads the
same network as robcert's twin of it (loading is timed with it). Both use one thread, the same
images and the same radius. What AutoAttack finds is classified by robcert's runtime. The script
prints both accuracies, both times and their ratio (aim: a tenth, with an accuracy no higher than
AutoAttack's). AutoAttack is not a dependency; install it in an environment of its own:

    pip install pyautoattack
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from native import Twin

from robcert.certify.data import load_images
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.model import PreprocessOptions

_ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
CIFAR, DIGITS = "cifar10_test.npz", "mnist_test.npz"


@dataclass(frozen=True)
class Net:
    """A robust network of the zoo, its images, and the radius in linf."""

    file: str
    data: str
    epsilon: str

    @property
    def radius(self) -> float:
        top, _, bottom = self.epsilon.partition("/")
        return float(top) / float(bottom or 1)


NETS = (
    Net("cifar_base_kw.onnx", CIFAR, "2/255"),
    Net("resnet_2b.onnx", CIFAR, "2/255"),
    Net("sri_resnet_a.onnx", CIFAR, "2/255"),
    Net("vit_pgd_2_3_16.onnx", CIFAR, "2/255"),
    Net("mnist-net_256x2.onnx", DIGITS, "0.03"),
    Net("cora_mnist_set.onnx", DIGITS, "0.1"),
)


def preprocessing(zoo: Path, net: Net) -> str:
    entries = json.loads((zoo / "zoo.json").read_text())
    return json.dumps(next(e["preprocess"] for e in entries if e["file"] == net.file))


def with_robcert(zoo: Path, net: Net, images: int) -> float:
    """Robust accuracy by the command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "robcert.cli.main", "attack", "--json"),
            *("--model", str(zoo / "models" / net.file), "--data", str(zoo / "data" / net.data)),
            *("--preprocess", preprocessing(zoo, net), "--limit", str(images)),
            *("--suite", "quick", "--fixed-radius", "--eps", net.epsilon, "--threads", "1"),
            *("--out", str(Path(folder) / "results.h5")),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=_ONE_THREAD)
    return float(json.loads(done.stdout)["summary"]["robust_accuracy"][0]["value"])


def with_autoattack(zoo: Path, net: Net, images: int) -> float:
    """Robust accuracy by AutoAttack's four attacks."""
    library = importlib.import_module("pyautoattack")
    torch.set_num_threads(1)
    options = PreprocessOptions.from_json(preprocessing(zoo, net), source="zoo.json")
    model = load_classifier(zoo / "models" / net.file, LoadOptions(preprocess=options, threads=1))
    data = load_images(str(zoo / "data" / net.data))
    some = np.arange(images)
    x, y = data.pixels(some), torch.from_numpy(data.labels[some]).long()
    attack = library.AutoAttack(
        Twin(model).eval(),
        norm="Linf",
        eps=net.radius,
        version="standard",
        device="cpu",
        seed=0,
    )
    found = attack.run_standard_evaluation(x, y, batch_size=images)[0]
    near = (found - x).abs().flatten(1).amax(1) <= net.radius * (1 + 1e-4)
    return float(
        (model.logits(torch.where(near.view(-1, 1, 1, 1), found, x)).argmax(1) == y).double().mean()
    )


def in_process(options: argparse.Namespace, net: Net) -> float:
    """The same in a process of its own, so that its start is timed too."""
    command = [
        *(sys.executable, __file__, "--zoo", str(options.zoo), "--images", str(options.images)),
        *("--peer", "--nets", net.file),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_ONE_THREAD)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--nets", nargs="+", default=[net.file for net in NETS])
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    nets = [net for net in NETS if net.file in options.nets]
    if options.peer:
        print(with_autoattack(options.zoo, nets[0], options.images))
        return
    print("| network, ε in linf | robcert quick | AutoAttack | s | s | ratio |")
    for net in nets:
        start = time.perf_counter()
        ours = with_robcert(options.zoo, net, options.images)
        seconds = time.perf_counter() - start
        theirs = in_process(options, net)
        longer = time.perf_counter() - start - seconds
        print(
            f"| {net.file} {net.epsilon} | {ours:.3f} | {theirs:.3f} | {seconds:.1f} | "
            f"{longer:.1f} | 1/{longer / seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Where the passes of the masking check go: forward and backward passes per image, by attack.

    python benchmarks/masking_passes.py [MODEL ...] [--data fashion-mnist-2000] [--images 100]

Runs the check on each model (default: the bundled honest one) and counts the images in every call
of the runtime and of autograd's backward pass. A forward pass of the twin belongs to each backward
pass. The smallest possible number is 0; what gradient attacks leave, times the queries of the
searches, is the part that robust models pay.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import robcert.fixtures
from robcert.certify import masking
from robcert.certify.data import load_images
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.masking import MaskingSettings, attacks, evidence, rounds, sources
from robcert.certify.numerics import keep_freed_memory
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.model import Classifier

REST = "clean images"


class Passes:
    """Counts of forward and backward passes by stage, and seconds of processor time."""

    def __init__(self) -> None:
        self.forward, self.backward = Counter[str](), Counter[str]()
        self.seconds = Counter[str]()
        self._stages = [REST]

    @contextmanager
    def within(self, stage: str) -> Iterator[None]:
        """Count for ``stage``, not for the stage around it."""
        begun = time.process_time()
        self._stages.append(stage)
        try:
            yield
        finally:
            self._stages.pop()
            spent = time.process_time() - begun
            self.seconds[stage] += spent
            self.seconds[self._stages[-1]] -= spent

    def staged(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.within(stage):
                return function(*args, **kwargs)

        return wrapped

    def watch(self, classifier: Classifier) -> Classifier:
        """The model, whose calls are counted, one batch at a time."""
        logits, grad = classifier.runtime.logits, torch.autograd.grad

        def counted(x: torch.Tensor) -> torch.Tensor:
            self.forward[self._stages[-1]] += len(x)
            return logits(x)

        def differentiated(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.backward[self._stages[-1]] += len(inputs)
            return grad(outputs, inputs, *args, **kwargs)

        torch.autograd.grad = differentiated
        return replace(
            classifier,
            runtime=replace(classifier.runtime, logits=counted, reopened=None, cores=1),
        )

    def name_stages(self) -> None:
        """Count each attack of the check under its own name."""
        plan = attacks.AttackPlan
        pending = plan.pending

        def named(self_: attacks.AttackPlan) -> dict[str, attacks.PendingAttack]:
            return {name: self.staged(name, run) for name, run in pending(self_).items()}

        plan.pending = named  # type: ignore[method-assign]
        for method, stage in (
            ("long_search", "long_search"),
            ("at_strengths", "accuracy by radius"),
            ("traced", "pgd_margin"),
            ("on_margin", "pgd_margin"),
        ):
            setattr(plan, method, self.staged(stage, getattr(plan, method)))
        evidence.bend = self.staged("bent_loss", evidence.bend)
        rounds.further = self.staged("rounds", rounds.further)
        rounds.stage_sources = self.staged("rounds", rounds.stage_sources)
        sources.distilled = self.staged("surrogate", sources.distilled)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    bundled = Path(robcert.fixtures.__path__[0]) / "fashion-honest.onnx"
    parser.add_argument("models", nargs="*", type=Path, default=[bundled])
    parser.add_argument("--data", default="fashion-mnist-2000")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--epsilon", type=float, default=8 / 255)
    parser.add_argument("--profile", default="quick")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    images = load_images(options.data)
    settings = replace(MaskingSettings.of_profile(options.profile), epsilon=options.epsilon)
    grad, plan = torch.autograd.grad, dict(vars(attacks.AttackPlan))
    for path in options.models:
        passes = Passes()
        loaded = load_classifier(path, LoadOptions(device="cpu", threads=1), images=images)
        passes.name_stages()
        watched = passes.watch(loaded)
        with (
            tempfile.TemporaryDirectory() as folder,
            ResultStore.open(Path(folder) / "r.h5", model=loaded.info, data=images.info) as store,
            passes.within("results file"),
        ):
            session = Session(watched, images, np.arange(options.images), store)
            found = masking.summarise(store, masking.analyse(session, settings))
        print(f"\n{path.stem}: {found.verdict}, accuracy {found.corrected.value:.2f} under attack")
        table(passes, options.images)
        torch.autograd.grad = grad
        for name in ("pending", "long_search", "at_strengths", "traced", "on_margin"):
            setattr(attacks.AttackPlan, name, plan[name])


def table(passes: Passes, images: int) -> None:
    """Print passes per image and seconds by stage, the slowest first."""
    print(f"{'stage':<20} {'forward':>8} {'backward':>9} {'seconds':>8}")
    stages = sorted(passes.seconds, key=lambda stage: -passes.seconds[stage])
    for stage in [one for one in stages if one != REST]:
        counts = passes.forward[stage] / images, passes.backward[stage] / images
        print(f"{stage:<20} {counts[0]:8.1f} {counts[1]:9.1f} {passes.seconds[stage]:8.1f}")
    both = passes.forward.total() / images, passes.backward.total() / images
    seconds = sum(spent for stage, spent in passes.seconds.items() if stage != REST)
    print(f"{'all':<20} {both[0]:8.1f} {both[1]:9.1f} {seconds:8.1f}")


if __name__ == "__main__":
    main()

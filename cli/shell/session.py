"""From the shared options to a session: the model, the images, the results file."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from robcert.certify.errors import DataError, InvalidParameterError, require_at_least

from . import values
from .invocation import remember_saved
from .progress import TerminalProgress
from .render import print_warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet
    from robcert.certify.importer import LoadOptions
    from robcert.certify.model import Classifier, PreprocessOptions
    from robcert.certify.session import Session
    from robcert.certify.store import ResultStore

    from .options import AnalysisOptions

DEMO_MODEL = "fashion-honest.onnx"
DEFAULT_BATCH = 64
"""Images a step for ``--batch-size auto``; small networks gain nothing beyond (performance)."""


@dataclass(slots=True)
class Opened:
    """A session with what the user should know about it.

    Attributes:
        warnings: printed on stderr and part of `--json`.
    """

    session: Session
    options: AnalysisOptions
    warnings: list[str] = field(default_factory=list)

    def warn(self, line: str) -> None:
        """Tell the user ``line``, now and in the result."""
        if line not in self.warnings:
            self.warnings.append(line)
            print_warning(line)


def epsilons(options: AnalysisOptions) -> tuple[float, ...]:
    """The distances asked for, in their order; the norm's default if none was."""
    from robcert.certify.core import Norm

    if not options.eps:
        return (Norm(options.norm).usual_radius,)
    return tuple(dict.fromkeys(values.epsilon(text, options.norm) for text in options.eps))


def one_epsilon(options: AnalysisOptions) -> float:
    """The distance asked for, where a command takes one.

    Raises:
        InvalidParameterError: there were several.
    """
    found = epsilons(options)
    if len(found) > 1:
        message = f"this command takes one --eps, got {len(found)}"
        raise InvalidParameterError(message, hint="run it again for each of the others")
    return found[0]


@contextlib.contextmanager
def opened(options: AnalysisOptions) -> Iterator[Opened]:
    """Model, images and results file as ``options`` say, closed at the end.

    Raises:
        RobcertError: any of them cannot be had or does not fit the others.
    """
    from robcert.certify.model import check_clean_accuracy
    from robcert.certify.session import Session
    from robcert.certify.store import ResultStore

    deadline = _deadline(options)
    batch_size = values.batch_size(options.batch_size) or DEFAULT_BATCH
    epsilons(options)  # a wrong number ends here, before anything is loaded
    tune_torch(options.threads)
    classifier, images = load_pair(options)
    indices = _selected(options, len(images))
    images.require_fit(classifier.image_shape, classifier.num_classes)
    _require_within_box(options, classifier.image_shape)
    if not options.allow_low_accuracy:
        check_clean_accuracy(classifier, images)
    path = options.out or default_results(classifier)
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(TerminalProgress(quiet=options.quiet))
        store = stack.enter_context(
            ResultStore.open(
                path, model=classifier.info, data=images.info, overwrite=options.overwrite
            )
        )
        stack.callback(lambda: remember_saved(store.has_rows))
        _add_images(store, images, indices)
        session = Session(
            classifier, images, indices, store, options.seed, batch_size, progress, deadline
        )
        context = Opened(session, options)
        _say_what_is_odd(context, images)
        yield context


def load_pair(options: AnalysisOptions) -> tuple[Classifier, ImageSet]:
    """The model and the images that were named, or their defaults, which a note tells."""
    if options.data is None:
        classifier = load_model(options, None)
        return classifier, default_data(options, classifier)
    from robcert.certify.data import load_images

    images = load_images(options.data, root=options.data_root)
    return load_model(options, images), images


def load_model(options: AnalysisOptions, images: ImageSet | None) -> Classifier:
    """The model that was named, else the demo model; ``images`` settle its input where known."""
    from robcert.certify.importer import load_classifier

    return load_classifier(model_path(options), how_to_load(options), images=images)


def model_path(options: AnalysisOptions) -> Path:
    """The file that was named, else the demo model, with a note on stderr."""
    if options.model is not None:
        return options.model
    note(options, f"no --model given: using the bundled demo model {DEMO_MODEL}")
    return bundled(DEMO_MODEL)


def how_to_load(options: AnalysisOptions) -> LoadOptions:
    """Options of `load_classifier` and `inspect_model`; `--arch` is allowed from here on."""
    from robcert.certify.importer import LoadOptions
    from robcert.trainers.networks import allow

    if options.arch is not None:
        allow(options.arch)
    return LoadOptions(
        preprocess=preprocessing(options),
        output=options.output,
        device=options.device,
        threads=options.threads or 0,
    )


def preprocessing(options: AnalysisOptions) -> PreprocessOptions:
    """What the options say of the preprocessing; single options win over the file."""
    from robcert.certify.model import PreprocessOptions

    limits = values.numbers(options.value_range) if options.value_range else None
    said = PreprocessOptions(
        layout=options.layout,
        range=limits,  # type: ignore[arg-type]  # its length is checked there
        mean=values.numbers(options.mean) if options.mean else None,
        std=values.numbers(options.std) if options.std else None,
    )
    if options.preprocess is None:
        return said
    return said.over(PreprocessOptions.from_file(options.preprocess))


def default_data(options: AnalysisOptions, classifier: Classifier) -> ImageSet:
    """The images that the model names; else bundled ones that fit.

    Raises:
        DataError: there are none; the hint is the option to pass.
    """
    from robcert.certify.data import bundled_sets, load_images

    named = classifier.info.data_name
    if named in bundled_sets():
        return load_images(named)
    images = _nearest_bundled(named, classifier) or _named_by_model(named, options)
    if images is not None:
        note(options, f"no --data given: using {images.name}")
        return images
    size = " × ".join(str(side) for side in classifier.image_shape)
    message = f"no --data given, and no bundled images fit this model ({size} pixels)"
    hint = f"pass --data {named or 'images.npz'}"
    raise DataError(message, hint=f"{hint}: a name (robcert datasets), a file or a folder")


def _nearest_bundled(named: str, classifier: Classifier) -> ImageSet | None:
    """Bundled images of the set that the model names, or on which it does better than chance."""
    from robcert.certify.data import bundled_sets, load_images

    for name in bundled_sets():
        images = load_images(name)
        same_set = bool(named) and name.startswith(named.partition(":")[0])
        fits = images.shape == classifier.image_shape
        if fits and (same_set or (not named and _above_chance(classifier, images))):
            return images
    return None


def _above_chance(classifier: Classifier, images: ImageSet) -> bool:
    """Whether the model takes the images and does better than guessing on them."""
    from robcert.certify.model import clean_accuracy, near_chance

    try:
        images.require_fit(classifier.image_shape, classifier.num_classes)
    except DataError:
        return False
    accuracy = clean_accuracy(classifier, images)
    return accuracy is not None and not near_chance(accuracy, classifier.num_classes)


def _named_by_model(named: str, options: AnalysisOptions) -> ImageSet | None:
    from robcert.certify.data import load_images

    if not named:
        return None
    try:
        return load_images(named, root=options.data_root)
    except DataError:
        return None  # it cannot be had here; the caller says what to pass


def default_results(classifier: Classifier) -> Path:
    """`robcert-results/<model>-<sha8>.h5` in the working directory."""
    info = classifier.info
    return Path("robcert-results") / f"{Path(info.file).stem}-{info.sha256[:8]}.h5"


def bundled(name: str) -> Path:
    """Path of the file ``name`` that comes with robcert."""
    from importlib.resources import files

    return Path(str(files("robcert.fixtures") / name))


def note(options: AnalysisOptions, line: str) -> None:
    """A line on stderr that `--quiet` silences."""
    if not options.quiet:
        typer.echo(f"note: {line}", err=True)


def _selected(options: AnalysisOptions, size: int) -> NDArray[np.int64]:
    from robcert.certify.data import select

    chosen = values.positions(options.indices) if options.indices else ()
    return select(size, limit=options.limit, every=options.every, indices=chosen)


def _add_images(store: ResultStore, images: ImageSet, indices: NDArray[np.int64]) -> None:
    store.add_images(indices, None if images.labels is None else images.labels[indices])


def _require_within_box(options: AnalysisOptions, shape: tuple[int, ...]) -> None:
    """Raise if a distance is larger than that of the farthest two images of this shape."""
    pixels = math.prod(shape)
    diameter = {"linf": 1.0, "l2": math.sqrt(pixels), "l1": float(pixels)}[options.norm]
    largest = max(epsilons(options))
    if options.eps and largest > diameter:
        message = f"--eps {largest:g} is larger than any {options.norm} distance of two images"
        hint = f"with pixels in [0, 1] it is at most {diameter:.6g} here"
        raise InvalidParameterError(message, hint=hint)


def _deadline(options: AnalysisOptions) -> float | None:
    if options.time_budget is None:
        return None
    return time.monotonic() + values.seconds(options.time_budget)


def tune_torch(threads: int | None) -> None:
    """CPU threads of torch, None leaves them alone; and its memory is kept for reuse."""
    from robcert.certify.numerics import keep_freed_memory

    keep_freed_memory()
    if threads is not None:
        import torch

        require_at_least("threads", threads, 1)
        torch.set_num_threads(threads)


def _say_what_is_odd(context: Opened, images: ImageSet) -> None:
    for line in (*images.notes, *context.session.classifier.info.notes):
        note(context.options, line)
    for line in images.selection_notes(context.session.indices):
        context.warn(line)
    if images.labels is None:
        context.warn(
            f"{images.name} has no labels: every number refers to the model's own prediction "
            "(stability, not accuracy)"
        )

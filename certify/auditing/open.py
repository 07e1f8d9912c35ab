"""Opening a session with a model and images, named or in memory; all checks of the input.

The command line and the Python API open their sessions here, so both reject the same inputs with
the same messages.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from robcert.certify.attacks import require_same_task
from robcert.certify.cluster import RayRequest, require_ray
from robcert.certify.core import Norm, Progress, silent
from robcert.certify.data import ImageSet, Shard, bundled_sets, load_images, select
from robcert.certify.errors import (
    DataError,
    InvalidParameterError,
    TimeLimitError,
    require_at_least,
    require_between,
    require_threads,
)
from robcert.certify.importer import LoadOptions, RunLimits, load_classifier
from robcert.certify.model import (
    Classifier,
    PreprocessOptions,
    clean_accuracy,
    clean_check,
    fitting_order,
    near_chance,
    require_above_chance,
)
from robcert.certify.numerics import keep_freed_memory, limited_memory
from robcert.certify.session import BATCH_SECONDS, Session
from robcert.certify.store import ResultStore
from robcert.certify.time_budget import BatchAbandonedError, abandoned_after

from .doubts import input_doubts_until
from .worker_choice import Workers, opened_workers, require_workers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_BATCH = 64
"""Default number of images per step; larger steps are no faster for small networks."""

DEMO_MODEL = "fashion-honest.onnx"
"""Bundled model that is used if none is given."""

RESULTS_FOLDER = Path("robcert-results")
"""Folder of results files in the working directory."""

Task = Literal["multiclass"]

Say = Callable[[str], None]
"""Function that shows one line to the user."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A model, images, and how to use them.

    Attributes:
        model: file, run folder, or a loaded model; None for the bundled demo model.
        data: name, file or folder of images, or a loaded set; None for the set that the model
            names, else bundled images that fit.
        data_root: folder of data sets by name; None for the user's cache.
        limit: largest number of images to report on.
        every: report on each ``every``-th image only.
        indices: report on exactly these images.
        shard: of the images so selected, report on those of this part only.
        norm: norm of distances.
        epsilons: requested distances, pixel units; empty for the default of the norm.
        seed: seed of every random draw.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        threads: CPU threads; None for all cores.
        workers: processes of one thread each that compute rows, or ``auto`` for as many as there
            are cores where a trial shows that they are faster than threads; None for threads. With
            ``ray`` their largest number on all nodes; None for as many as there is room for.
        ray: the Ray cluster on whose nodes the workers are; None for this machine alone.
        batch_size: images per step; None for the default. Changes speed only.
        out: results file; None for ``<model>-<sha8>.h5`` in ``folder``.
        folder: folder of the results file where ``out`` names none.
        overwrite: replace an existing results file.
        preprocess: options of the preprocessing.
        output: name of the model's output with the class scores.
        task: ``multiclass`` states that each image has one class, see ``LoadOptions``.
        allow_low_accuracy: continue even if clean accuracy is at chance level.
        seconds: time after which no new work is started; None for no limit.
        limits: time of a call of the model, and memory.
    """

    model: Path | Classifier | None = None
    data: str | Path | ImageSet | None = None
    data_root: Path | None = None
    limit: int | None = None
    every: int | None = None
    indices: tuple[int, ...] = ()
    shard: Shard | None = None
    norm: Norm = Norm.LINF
    epsilons: tuple[float, ...] = ()
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    workers: Workers | None = None
    ray: RayRequest | None = None
    batch_size: int | None = None
    out: Path | None = None
    folder: Path = RESULTS_FOLDER
    overwrite: bool = False
    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    output: str | None = None
    task: Task | None = None
    allow_low_accuracy: bool = False
    seconds: float | None = None
    limits: RunLimits = field(default_factory=RunLimits)

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        for epsilon in self.epsilons:
            self.norm.require_epsilon(epsilon)
        require_between("seed", self.seed, -(2**63), 2**63 - 1)  # as a results file stores it
        if self.batch_size is not None:
            require_at_least("batch_size", self.batch_size, 1)
        if self.threads is not None:
            require_threads(self.threads)
        if self.workers is not None:
            require_workers(self.workers, here=self.ray is None)
        if self.ray is not None:
            require_ray()

    @property
    def load_options(self) -> LoadOptions:
        """How the model file is to be loaded."""
        return LoadOptions(
            preprocess=self.preprocess,
            output=self.output,
            multiclass=self.task is not None,
            device=self.device,
            threads=self.threads or 0,
            limits=self.limits,
        )

    @property
    def distances(self) -> tuple[float, ...]:
        """Requested distances in their order, pixel units; the default of the norm if none."""
        return self.epsilons or (self.norm.usual_radius,)


@dataclass(slots=True)
class SessionContext:
    """An open session with its request and warnings.

    Attributes:
        session: model, images, results file.
        request: the request that it was opened for.
        warnings: limitations that concern every number of the session.
    """

    session: Session
    request: SessionRequest
    on_warning: Say
    warnings: list[str] = field(default_factory=list)

    def warn(self, line: str) -> None:
        """Keep ``line`` for the result and show it now, once."""
        if line not in self.warnings:
            self.warnings.append(line)
            self.on_warning(line)

    def warn_unfinished(self, path: str) -> None:
        """Warn if the time budget ended before the table at ``path``, or if the model failed."""
        session = self.session
        group, total = session.store.at(path), len(session.indices)
        left = [int(index) for index in group.missing(session.indices)]
        if left and session.out_of_time:
            done = total - len(left)
            more = "to continue" if done else "with more time"
            self.warn(
                f"incomplete: the time budget ended with {done} of {total} images done in {path}; "
                f"run the same command again {more}"
            )
        elif left:
            reasons = group.attribute("failed", {})
            self.warn(
                f"the model failed on {len(left)} of {total} images, which {path} excludes; "
                f"the first is image {left[0]}: {reasons.get(str(left[0]), 'no reason recorded')}"
            )


@contextlib.contextmanager
def open_session(
    request: SessionRequest,
    *,
    progress: Progress = silent,
    on_note: Say = lambda line: None,
    on_warning: Say = lambda line: None,
) -> Iterator[SessionContext]:
    """Model, images and results file of ``request``, closed at the end.

    Checks, in this order: numbers are in range; the model loads; the images fit it; epsilon is at
    most the diameter of the pixel box; clean accuracy is above chance; the results file belongs to
    this model and these images.

    Raises:
        RobcertError: any of these does not hold.
    """
    deadline = None if request.seconds is None else time.monotonic() + request.seconds
    with torch_threads(request.threads), limited_memory(request.limits.memory):
        classifier, loaded = load_pair(request, on_note)
        end = math.inf if deadline is None else deadline + BATCH_SECONDS
        with _checked_until(end):
            order = fitting_order(classifier, loaded)
        images = order.images
        indices = select(
            len(images), limit=request.limit, every=request.every, indices=request.indices
        )
        if request.shard is not None:
            indices = request.shard.part_of(indices)
        images.require_fit(classifier.image_shape, classifier.num_classes)
        _require_within_box(request, classifier.image_shape)
        with _checked_until(end):
            checked = clean_check(classifier, images)
            if not request.allow_low_accuracy:
                require_above_chance(classifier, images, checked.accuracy)
        doubts = input_doubts_until(end, classifier, images, checked.accuracy)
        doubts += () if order.decided else (order.line,)
        path = request.out or default_results(classifier, request.shard, request.folder)
        batch = request.batch_size or DEFAULT_BATCH
        with (
            ResultStore.open(
                path, model=classifier.info, data=images.info, overwrite=request.overwrite
            ) as store,
            opened_workers(request, classifier, images, indices, on_note) as (processes, crew),
        ):
            session = Session(
                classifier,
                images,
                indices,
                store,
                request.seed,
                batch,
                progress,
                deadline,
                processes,
                crew,
            )
            context = SessionContext(session, request, on_warning)
            for line in (*images.notes, *classifier.info.notes):
                on_note(line)
            _warn_of_images(context, images, indices)
            if checked.undefined:
                context.warn(checked.warning)
            store.note_doubts(doubts)
            for line in (*doubts, *((order.line,) if order.changed else ())):
                context.warn(line)
            if order.line and order.decided and not order.changed:
                on_note(order.line)
            yield context


@contextlib.contextmanager
def _checked_until(end: float) -> Iterator[None]:
    """Abandon the check of clean accuracy inside at its first call of the model after ``end``.

    Raises:
        TimeLimitError: it was abandoned; no analysis starts without it, and none had time left.
    """
    try:
        with abandoned_after(end):
            yield
    except BatchAbandonedError:
        message = "the time budget ended before clean accuracy was known"
        hint = "allow more time: --time-budget counts from the start of the command"
        raise TimeLimitError(message, hint=hint) from None


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use ``threads`` CPU threads (None: no change), and keep freed memory for reuse."""
    keep_freed_memory()
    if threads is None:
        yield
        return
    require_threads(threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_pair(request: SessionRequest, on_note: Say) -> tuple[Classifier, ImageSet]:
    """The model and the images of ``request``, or their defaults, named in a note.

    Raises:
        RobcertError: one of them cannot be loaded.
    """
    if request.data is not None:
        images = load_data_of(request, request.data)
        return load_model_of(request, images, on_note), images
    alone = load_model_of(request, None, on_note)
    images = default_data(request, alone, on_note)
    # again, to compare twin and runtime on images and to look for scores inside the graph
    return load_model_of(request, images, lambda _: None), images


def load_data_of(request: SessionRequest, data: str | Path | ImageSet) -> ImageSet:
    """The images ``data``, loaded unless they already are."""
    return data if isinstance(data, ImageSet) else load_images(data, root=request.data_root)


def load_model_of(request: SessionRequest, images: ImageSet | None, on_note: Say) -> Classifier:
    """The model of ``request``; ``images``, if known, determine layout and size of its input."""
    if isinstance(request.model, Classifier):
        return request.model
    path = request.model or demo_model(on_note)
    return load_classifier(path, request.load_options, images=images)


def load_sources(
    request: SessionRequest, files: Iterable[Path], session: Session
) -> tuple[Classifier, ...]:
    """The models in ``files``, whose adversarial examples are tried on the model of ``session``.

    Each is preprocessed as its own metadata says, and loaded once.

    Raises:
        RobcertError: one cannot be loaded, or has other image or class dimensions than the model.
    """
    how = replace(request, preprocess=PreprocessOptions(), output=None)
    found: dict[str, Classifier] = {}
    for file in files:
        try:
            source = load_model_of(replace(how, model=file), session.images, lambda line: None)
        except DataError as error:
            message = f"the source {file} does not take the model's images: {error}"
            raise DataError(message) from error
        require_same_task(source, session.classifier)
        found.setdefault(source.info.sha256, source)
    return tuple(found.values())


def demo_model(on_note: Say) -> Path:
    """The bundled demo model, with a note that it is used."""
    on_note(f"no --model given: using the bundled demo model {DEMO_MODEL}")
    return bundled(DEMO_MODEL)


def default_data(request: SessionRequest, classifier: Classifier, on_note: Say) -> ImageSet:
    """The images that the model's metadata name; else bundled ones that fit.

    Raises:
        DataError: there are none; the hint names the option to pass.
    """
    named = classifier.info.data_name
    if named in bundled_sets():
        return load_images(named)
    images = _nearest_bundled(named, classifier) or _named_by_model(named, request)
    if images is not None:
        on_note(f"no --data given: using {images.name}")
        return images
    size = " × ".join(str(side) for side in classifier.image_shape)
    message = f"no --data given, and no bundled images fit this model ({size} pixels)"
    hint = f"pass --data {named or 'images.npz'}"
    raise DataError(message, hint=f"{hint}: a name (robcert datasets), a file or a folder")


def default_results(
    classifier: Classifier, shard: Shard | None = None, folder: Path = RESULTS_FOLDER
) -> Path:
    """`<model>-<sha8>.h5` in ``folder``; a shard has its own file."""
    info = classifier.info
    part = "" if shard is None else f"-{shard.number}-of-{shard.of}"
    return folder / f"{Path(info.file).stem}-{info.sha256[:8]}{part}.h5"


def bundled(name: str) -> Path:
    """Path of the file ``name`` that comes with robcert."""
    return Path(str(files("robcert.fixtures") / name))


def _nearest_bundled(named: str, classifier: Classifier) -> ImageSet | None:
    """Bundled images that the model names, or on which its accuracy is above chance."""
    for name in bundled_sets():
        images = load_images(name)
        same_set = bool(named) and name.startswith(named.partition(":")[0])
        fits = images.shape == classifier.image_shape
        if fits and (same_set or (not named and _above_chance(classifier, images))):
            return images
    return None


def _above_chance(classifier: Classifier, images: ImageSet) -> bool:
    """Whether the model takes the images and its accuracy on them is above chance."""
    try:
        images.require_fit(classifier.image_shape, classifier.num_classes)
    except DataError:
        return False
    accuracy = clean_accuracy(classifier, images)
    return accuracy is not None and not near_chance(accuracy, classifier.num_classes)


def _named_by_model(named: str, request: SessionRequest) -> ImageSet | None:
    if not named:
        return None
    try:
        return load_images(named, root=request.data_root)
    except DataError:
        return None  # not available; the caller's error says what to pass


def _require_within_box(request: SessionRequest, shape: tuple[int, ...]) -> None:
    """Raise if a distance is larger than any distance of two images of this shape."""
    if not request.epsilons:
        return
    pixels = math.prod(shape)
    diameter = {Norm.LINF: 1.0, Norm.L2: math.sqrt(pixels), Norm.L1: float(pixels)}[request.norm]
    largest = max(request.epsilons)
    if largest > diameter:
        message = f"epsilon {largest:g} is larger than any {request.norm} distance of two images"
        hint = f"with pixels in [0, 1] it is at most {diameter:.6g} here"
        raise InvalidParameterError(message, hint=hint)


def _warn_of_images(context: SessionContext, images: ImageSet, indices: NDArray[np.int64]) -> None:
    for line in images.selection_notes(indices):
        context.warn(line)
    if images.labels is None:
        context.warn(
            f"{images.name} has no labels: every number refers to the model's own prediction "
            "(stability, not accuracy)"
        )

"""Local linearity of several models, or along training runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

from .shell.run import report_groups
from .shell.session import command_context, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.local_linearity import LinearitySettings, Measured

    from .shell.options import AnalysisOptions
    from .shell.session import CommandContext


@dataclass(frozen=True, slots=True)
class Place:
    """One of the models: its file, its name and its results file.

    Attributes:
        model: None for the demo model.
        out: results file; None for the default.
        epoch: epochs that it was trained for; None outside a training run.
        run: name of its training run where there are several; else empty.
    """

    model: Path | None
    out: Path | None
    epoch: int | None = None
    run: str = ""

    def name(self, file: str) -> str:
        """What the model, whose file is called ``file``, is called in the table."""
        parts = [self.run] if self.run else []
        return file if self.epoch is None else ", ".join([*parts, f"epoch {self.epoch}"])


def require_series(options: AnalysisOptions, others: Sequence[Path], *, along: bool) -> None:
    """Check the options before the first model is measured, because that may take hours.

    Raises:
        InvalidParameterError: the options contradict one another or name no file.
        ModelFileError: an ONNX file cannot be read.
    """
    from robcert.certify.importer import read_model

    for path in others:
        if not path.exists():
            message = f"{path} does not exist"
            raise InvalidParameterError(message)
        if path.suffix == ".onnx":
            read_model(path)
    if not along:
        return
    from robcert.trainers.loop import kept_checkpoints

    for option, folder in (("--model", options.model), *(("--also", path) for path in others)):
        if folder is None or not folder.is_dir():
            message = f"--along needs {option} to be the folder of a training run"
            raise InvalidParameterError(message, hint="robcert train METHOD --keep-every 1")
        kept_checkpoints(folder)


def places(options: AnalysisOptions, others: Sequence[Path], *, along: bool) -> list[Place]:
    """The models in their order, each with its own results file."""
    if along and options.model is not None:
        folders = [options.model, *others]
        names = _run_names(folders) if others else [""]
        return [
            place
            for folder, name in zip(folders, names, strict=True)
            for place in _kept(folder, name, options.out)
        ]
    further = [Place(path, _beside(options.out, path.stem)) for path in others]
    return [Place(options.model, options.out), *further]


def _kept(folder: Path, run: str, out: Path | None) -> list[Place]:
    """The checkpoints in the folder of a training run, called ``run`` if there are several runs."""
    from robcert.trainers.loop import kept_checkpoints

    start = f"{run}-" if run else ""
    return [
        Place(file, _beside(out, f"{start}epoch-{epoch}"), epoch, run)
        for epoch, file in kept_checkpoints(folder).items()
    ]


def _run_names(folders: Sequence[Path]) -> list[str]:
    """Names of training runs: those of their folders.

    Raises:
        InvalidParameterError: two have the same.
    """
    names = [folder.resolve().name for folder in folders]
    for name in names:
        if names.count(name) > 1:
            message = f"two of the training runs are called {name}"
            raise InvalidParameterError(message, hint="rename one of the folders")
    return names


def run_series(
    options: AnalysisOptions,
    runs: Sequence[LinearitySettings],
    series: Sequence[Place],
    plot: Path | None,
) -> None:
    """Measure each model on the same images, print one table, draw the figure."""
    from robcert.certify.local_linearity import save_course, save_histogram

    found: list[Measured] = []
    warnings: list[str] = []
    data = ""
    for place in series:
        # checkpoints store their preprocessing; accuracy of the first ones may be at chance level
        untrained = options.allow_low_accuracy or place.epoch is not None
        chosen = replace(options, model=place.model, out=place.out, allow_low_accuracy=untrained)
        with command_context(chosen) as context:
            data = _same_data(context, data)
            found += _measured(context, runs, place)
            warnings = list(dict.fromkeys([*warnings, *context.warnings]))
            context.warnings[:] = warnings
            if place is series[-1]:
                _print(context, found)
    if plot is not None and found:
        along = found[0].epoch is not None
        (save_course if along else save_histogram)(plot, found)
        note(options, f"picture: {plot}")


def run_one(context: CommandContext, runs: Sequence[LinearitySettings], plot: Path | None) -> None:
    """Measure one model, print it, draw its histogram."""
    from robcert.certify.local_linearity import Measured, analyse, save_histogram

    paths = tuple(analyse(context.session, settings) for settings in runs)
    report_groups(context, "linearity", "linearity", paths)
    if plot is not None:
        store = context.session.store
        name = str(store.model["file"])
        save_histogram(plot, [Measured.of(store, path, name=name) for path in paths])
        note(context.options, f"picture: {plot}")


def _measured(
    context: CommandContext, runs: Sequence[LinearitySettings], place: Place
) -> list[Measured]:
    from robcert.certify.local_linearity import Measured, analyse, summarise

    from .shell.invocation import command_line

    store = context.session.store
    name = place.name(str(store.model["file"]))
    found = []
    for settings in runs:
        path = analyse(context.session, settings)
        store.at(path).set_attributes(command=command_line())
        for line in summarise(store, path).warnings:
            context.warn(f"{name}: {line}")
        found.append(Measured.of(store, path, name=name, epoch=place.epoch, run=place.run))
    return [one for one in found if len(one.gamma)]


def _print(context: CommandContext, found: Sequence[Measured]) -> None:
    """Print the table or the JSON object of all models."""
    from robcert.certify.local_linearity import series_table

    from .shell.render import print_tables
    from .shell.run import print_outcome

    if context.options.as_json:
        summary = {"models": [one.to_json() for one in found], "warnings": context.warnings}
        print_outcome(context, "linearity", {}, summary, None)
    elif found:
        print_tables([series_table(found)])
        for results in dict.fromkeys(one.results for one in found):
            note(context.options, f"results: {results}")


def _same_data(context: CommandContext, before: str) -> str:
    """Hash of the images; raises if it is not that of the models ``before``."""
    images = context.session.images
    if before and images.sha256 != before:
        message = f"the default images of the models differ; those of this model are {images.name}"
        raise InvalidParameterError(message, hint="pass --data")
    return images.sha256


def _beside(out: Path | None, name: str) -> Path | None:
    """Results file of a further model, named after the one in ``--out``."""
    return None if out is None else out.with_name(f"{out.stem}-{name}{out.suffix}")

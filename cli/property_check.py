"""`robcert verify --property`: a VNN-LIB property of any network, in place of images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from robcert.certify.errors import InvalidParameterError

from .shell import values
from .shell.echo import echo
from .shell.progress import TerminalProgress
from .shell.render import print_json, print_tables
from .shell.session import note, run_limits, tune_torch

if TYPE_CHECKING:
    from robcert.certify.verification import PropertySettings, PropertySummary

    from .shell.options import AnalysisOptions

USED = frozenset(
    {
        *("model", "output", "threads", "seed", "as_json", "quiet", "debug"),
        *("call_limit", "memory_limit"),
        *("budget", "method", "arithmetic", "property_file", "answers"),
    }
)
"""Parameters of `robcert verify` that the answer to a property depends on."""


@dataclass(frozen=True, slots=True)
class PropertyOptions:
    """Options of the check as typed.

    Attributes:
        file: the property.
        answers: file for the answer in the format of the verification competition.
        budget: time for search and proofs together.
        method: how outputs are bounded.
        arithmetic: the evaluation of the network that a proof speaks about.
    """

    file: Path
    answers: Path | None
    budget: str | None
    method: str
    arithmetic: str

    def settings(self, seed: int) -> PropertySettings:
        """Settings of the check.

        Raises:
            InvalidParameterError: an option has no valid value.
        """
        from robcert.certify.verification import Arithmetic, Method, PropertySettings

        return PropertySettings(
            seconds=values.positive_seconds(self.budget, "--budget", PropertySettings().seconds),
            method=Method(self.method),
            arithmetic=Arithmetic(self.arithmetic),
            seed=seed,
        )


def require_no_answers(answers: Path | None) -> None:
    """Raise if `--answers` is given without a property.

    Raises:
        InvalidParameterError: it is.
    """
    if answers is not None:
        message = "--answers needs --property: images have no answer of a competition"
        raise InvalidParameterError(message, hint="--out is the results file of images")


def answer_property(
    invocation: typer.Context, options: AnalysisOptions, asked: PropertyOptions
) -> None:
    """Check the property, print the answer, and exit with 1 unless the property holds.

    Raises:
        RobcertError: the property or the model cannot be read, or options of images are given.
    """
    require_used(invocation)
    if options.model is None:
        message = "--property needs --model: no bundled model has properties"
        raise InvalidParameterError(message, hint="add --model FILE.onnx")
    settings = asked.settings(options.seed)
    if asked.answers is not None:
        require_writable(asked.answers)
    from robcert.certify.verification import check_property
    from robcert.certify.whole_file import write_whole

    tune_torch(options.threads)
    with TerminalProgress(quiet=options.quiet) as progress:
        summary = check_property(
            options.model,
            asked.file,
            settings,
            output=options.output,
            progress=progress,
            limits=run_limits(options),
        )
    if asked.answers is not None:
        write_whole(asked.answers, summary.answer_text().encode())
    _print(options, asked, settings, summary)
    enforce_holds(summary)


def require_used(invocation: typer.Context) -> None:
    """Raise if an option was typed that has no effect on a property.

    Raises:
        InvalidParameterError: one was; the message names all of them.
    """
    idle = []
    for parameter in invocation.command.params:
        source = invocation.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE" and parameter.name not in USED:
            idle.append(max(parameter.opts, key=len))
    if idle:
        message = (
            f"{', '.join(idle)} would have no effect with --property, which has inputs of its own "
            "and no images"
        )
        raise InvalidParameterError(message, hint="omit --property to certify images")


def require_writable(path: Path) -> None:
    """Raise unless a file can be written at ``path``; called before the work starts.

    Raises:
        InvalidParameterError: it cannot.
    """
    from robcert.certify.whole_file import can_be_written

    if not can_be_written(path):
        message = f"no answer can be written at {path}"
        raise InvalidParameterError(message, hint="check the folder and its permissions")


def enforce_holds(summary: PropertySummary) -> None:
    """Exit with 1 unless the property is proved."""
    from robcert.certify.verification import Answer

    if summary.answer is Answer.HOLDS:
        return
    said = {
        Answer.VIOLATED: "is violated",
        Answer.WITHIN_TOLERANCE: "is violated within the tolerance of the competition",
    }.get(summary.answer, "is undecided")
    why = f": {summary.reason}" if said == "is undecided" and summary.reason else ""
    echo(f"failed: the property {said}{why}", err=True)
    raise typer.Exit(1)


def _print(
    options: AnalysisOptions,
    asked: PropertyOptions,
    settings: PropertySettings,
    summary: PropertySummary,
) -> None:
    """Print the answer as tables or as JSON."""
    from robcert.certify.verification import property_tables

    if not options.as_json:
        print_tables(property_tables(summary))
        if asked.answers is not None:
            note(options, f"answer: {asked.answers}")
        return
    from robcert.certify.store import Outcome

    model = {"file": Path(summary.model).name, "sha256": summary.model_sha256}
    data = {"property": str(asked.file), "sha256": summary.property_sha256}
    print_json(
        Outcome(
            command="verify",
            model=model,
            data=data,
            settings={"seed": options.seed, "property": asdict(settings)},
            summary=summary.to_json(),
            violations={},
            warnings=summary.notes,
            results=str(asked.answers or ""),
        )
    )

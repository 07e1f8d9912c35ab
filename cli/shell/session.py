"""From the shared options to an open session, and notes about it on stderr."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from robcert.certify.errors import InvalidParameterError

from . import values
from .echo import echo
from .invocation import configured, remember_saved
from .planning import PilotEndedError, current_pilots
from .progress import TerminalProgress
from .render import print_warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.auditing import SessionContext, SessionRequest, Stage
    from robcert.certify.cluster import RayRequest
    from robcert.certify.importer import RunLimits
    from robcert.certify.model import PreprocessOptions
    from robcert.certify.session import Session

    from .options import AnalysisOptions, OutputOptions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CommandContext:
    """An open session of a command, with its options and the display of its progress."""

    session_context: SessionContext
    options: AnalysisOptions
    progress: TerminalProgress

    @property
    def session(self) -> Session:
        """Model, images, results file."""
        return self.session_context.session

    @property
    def warnings(self) -> list[str]:
        """Warnings that were printed; part of `--json`."""
        return self.session_context.warnings

    def start_stage(self, stage: Stage) -> None:
        """Show, or tell the pilot, that a part of an audit starts."""
        if self.session.pilot is None:
            self.progress.start_stage(stage)
        else:
            self.session.pilot.part = stage.name

    def end_pilot(self) -> None:
        """End the command here if it runs as a pilot: what follows is output.

        Raises:
            PilotEndedError: it does.
        """
        if self.session.pilot is not None:
            raise PilotEndedError

    def warn(self, line: str) -> None:
        """Print the warning ``line`` now and keep it for the result."""
        self.session_context.warn(line)


def epsilons(options: AnalysisOptions) -> tuple[float, ...]:
    """The requested distances in their order; the default of the norm if none."""
    return typed_epsilons(options) or (options.norm.usual_radius,)


def typed_epsilons(options: AnalysisOptions) -> tuple[float, ...]:
    """The distances that were typed, each once."""
    return tuple(
        dict.fromkeys(
            values.of_option("--eps", lambda text: values.epsilon(text, options.norm), written)
            for written in options.eps or ()
        )
    )


def one_epsilon(options: AnalysisOptions) -> float:
    """The requested distance, for commands that take one.

    Raises:
        InvalidParameterError: there were several.
    """
    found = epsilons(options)
    if len(found) > 1:
        message = f"this command takes one --eps, got {len(found)}"
        raise InvalidParameterError(message, hint="run it again for each of the others")
    return found[0]


def request_of(options: AnalysisOptions) -> SessionRequest:
    """The session that the shared options describe.

    Raises:
        InvalidParameterError: one of them has no valid value.
    """
    from robcert.certify.auditing import SessionRequest
    from robcert.trainers.networks import allow

    if options.arch is not None:
        allow(options.arch)
    span = options.time_budget
    return SessionRequest(
        model=options.model,
        data=options.data,
        data_root=options.data_root,
        limit=options.limit,
        every=options.every,
        indices=values.positions(options.indices) if options.indices is not None else (),
        shard=values.shard(options.shard) if options.shard is not None else None,
        norm=options.norm,
        epsilons=typed_epsilons(options),
        seed=options.seed,
        device=options.device,
        threads=options.threads,
        workers=values.workers(options.workers) if options.workers is not None else None,
        ray=_ray(options),
        batch_size=values.batch_size(options.batch_size),
        out=options.out,
        overwrite=options.overwrite,
        preprocess=preprocessing(options),
        output=options.output,
        task=options.task,
        allow_low_accuracy=options.allow_low_accuracy,
        seconds=values.seconds(span, "--time-budget") if span is not None else None,
        limits=run_limits(options),
    )


def _ray(options: AnalysisOptions) -> RayRequest | None:
    """The Ray cluster; None without one.

    Raises:
        InvalidParameterError: an option has no valid value.
    """
    if options.ray is None:
        if options.ray_resources is not None:
            message = "--ray-resources without --ray has no effect"
            raise InvalidParameterError(message, hint="pass --ray local, for instance")
        return None
    from robcert.certify.cluster import RayRequest

    return RayRequest.of(options.ray, values.resources(options.ray_resources or ""))


def run_limits(options: AnalysisOptions) -> RunLimits:
    """What the model may use.

    Raises:
        InvalidParameterError: a limit has no valid value.
    """
    from robcert.certify.importer import RunLimits

    span, memory = options.call_limit, options.memory_limit
    return RunLimits(
        seconds=values.seconds(span, "--call-limit") if span is not None else None,
        memory=_optional("--memory-limit", values.size, memory),
    )


@contextlib.contextmanager
def command_context(options: AnalysisOptions) -> Iterator[CommandContext]:
    """Model, images and results file as ``options`` say, closed at the end.

    Raises:
        RobcertError: one of them is not available or does not fit the others.
    """
    from robcert.certify.auditing import open_session

    if (pilots := current_pilots()) is not None:
        with pilots.context(options) as context:
            yield context
        return
    request = request_of(options)
    tell_configured(options)
    with (
        TerminalProgress(quiet=options.quiet) as progress,
        open_session(
            request,
            progress=progress,
            on_note=lambda line: note(options, line),
            on_warning=print_warning,
        ) as opened,
    ):
        try:
            yield CommandContext(opened, options, progress)
        finally:
            remember_saved(opened.session.store.has_rows)


def preprocessing(options: AnalysisOptions) -> PreprocessOptions:
    """Preprocessing by the options; single options override the file of `--preprocess`."""
    from robcert.certify.model import PreprocessOptions

    said = PreprocessOptions(
        layout=options.layout,
        range=_optional("--range", values.numbers, options.value_range),  # type: ignore[arg-type]  # its length is checked there
        mean=_optional("--mean", values.numbers, options.mean),
        std=_optional("--std", values.numbers, options.std),
    )
    if options.preprocess is None:
        return said
    return said.over(PreprocessOptions.from_text(str(options.preprocess)))


def _optional(option: str, read: Callable[[str], T], text: str | None) -> T | None:
    """Value of an option as typed; None where it was not."""
    return None if text is None else values.of_option(option, read, text)


def tell_configured(options: OutputOptions) -> None:
    """Print what was taken from a configuration file."""
    if line := configured().note:
        note(options, line)


def note(options: OutputOptions, line: str) -> None:
    """Print a line on stderr, unless `--quiet`."""
    if not options.quiet:
        echo(f"note: {line}", err=True)


def tune_torch(threads: int | None) -> None:
    """Set the CPU threads of torch for the rest of the program; None keeps its default."""
    import torch

    from robcert.certify.errors import require_threads
    from robcert.certify.numerics import keep_freed_memory

    keep_freed_memory()
    if threads is not None:
        require_threads(threads)
        torch.set_num_threads(threads)

"""Commands under `robcert plan`: an analysis with its own options, run as a pilot and not saved.

The command's function runs as it is. :func:`robcert.cli.shell.session.command_context` gives it a
session of a few images whose results file is temporary, and it ends where its output would begin.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.auditing import SessionContext
    from robcert.certify.planning import Cost, Measured

    from .options import AnalysisOptions
    from .session import CommandContext

R = TypeVar("R")

SECONDS, OTHER_SECONDS = 4.5, 2.0
"""Time of a pilot for each table with the requested profile, and with the others."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What `robcert plan` was asked.

    Attributes:
        command: words of the planned command.
        budget: time that is available, seconds; None for no limit.
        all_profiles: whether the profiles that were not requested are measured too.
    """

    command: str
    budget: float | None = None
    all_profiles: bool = False


class PilotEndedError(Exception):
    """The work of a pilot is done; never seen outside this module."""


_wish: ContextVar[Wish | None] = ContextVar("wish", default=None)
_pilots: ContextVar[Pilots | None] = ContextVar("pilots", default=None)


@contextlib.contextmanager
def planned_next(wish: Wish) -> Iterator[None]:
    """Plan the command inside in place of running it."""
    token = _wish.set(wish)
    try:
        yield
    finally:
        _wish.reset(token)


def wished() -> Wish | None:
    """What `robcert plan` was asked; None outside it."""
    return _wish.get()


def current_pilots() -> Pilots | None:
    """The pilots that run now; None outside of them."""
    return _pilots.get()


def refuse_in_plan(options: str) -> None:
    """Raise under `robcert plan`, which cannot measure what ``options`` request.

    Raises:
        InvalidParameterError: it is so.
    """
    if wished() is not None:
        message = f"robcert plan does not measure {options}"
        raise InvalidParameterError(message, hint="leave it out of the plan")


def plannable(command: Callable[..., R], *, profiled: bool) -> Callable[..., R | None]:
    """``command``, which under `robcert plan` prints its plan.

    Args:
        command: takes ``options`` and its own parameters.
        profiled: whether it has the option `--profile`.
    """

    @wraps(command)
    def run(*, options: AnalysisOptions, **typed: Any) -> R | None:
        wish = wished()
        if wish is None:
            return command(options=options, **typed)
        with Pilots(options) as pilots:
            profile = options.profile if profiled else ""
            pilots.run(profile, partial(command, options=options, **typed))
            if profiled:
                _run_others(pilots, wish, partial(command, **typed))
        _print_plan(options, wish, pilots, profile=profile)
        return None

    return run


def _run_others(pilots: Pilots, wish: Wish, command: Callable[..., object]) -> None:
    """Run the pilots of the other profiles that the user or the choice for a budget asks for.

    For a budget the cheaper ones are first: where too few images fit with one, fewer would with
    the more thorough ones.
    """
    from robcert.certify.planning import PROFILES, enough_of

    options, budget = pilots.options, wish.budget
    for name in PROFILES if wish.all_profiles or budget else ():
        if name != options.profile:
            pilots.run(name, partial(command, options=replace(options, profile=name)))
        fits = pilots.measured[name].images_within(budget or math.inf, pilots.images)
        if not wish.all_profiles and fits < enough_of(pilots.images):
            break


@dataclass(slots=True)
class Pilots:
    """Pilots of one command; a context manager that keeps its model and images open.

    Attributes:
        options: the shared options of the command.
        measured: what the pilots measured, by profile.
    """

    options: AnalysisOptions
    measured: dict[str, Measured] = field(default_factory=dict)
    images: int = 0
    began: float = field(default_factory=time.monotonic)
    _opened: SessionContext | None = None
    _loading: Cost | None = None
    _found: Measured | None = None
    _place: Path | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Pilots:
        self._stack.callback(_pilots.reset, _pilots.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, name: str, command: Callable[[], object]) -> None:
        """Run ``command`` as the pilot of the profile ``name``."""
        from .session import note

        note(self.options, f"pilot with the profile {name}" if name else "pilot")
        self._found = None
        with contextlib.suppress(PilotEndedError):
            command()
        if self._found is None:
            message = "this command computes nothing that a plan could measure"
            raise InvalidParameterError(message)
        self.measured[name] = self._found

    @contextlib.contextmanager
    def context(self, options: AnalysisOptions) -> Iterator[CommandContext]:
        """A session of a few images, with a temporary results file."""
        from robcert.certify.planning import Cost, Measured, PilotStoppedError, session_of_few

        from .progress import TerminalProgress
        from .session import CommandContext, note

        opened = self._open(options)
        self.images = len(opened.session.indices)
        limit = OTHER_SECONDS if self.measured else SECONDS
        path = self._folder() / f"{len(self.measured)}.h5"
        with session_of_few(opened.session, path, limit) as (session, pilot):
            context = replace(opened, session=session, on_warning=lambda _: None)
            quiet = replace(options, quiet=True)
            began, processor = time.monotonic(), time.process_time()
            try:
                yield CommandContext(context, quiet, TerminalProgress(quiet=True))
            except (PilotEndedError, PilotStoppedError) as ended:
                if isinstance(ended, PilotStoppedError):
                    line = f"the pilot took too long in {pilot.tasks[-1].name} and stopped there"
                    note(self.options, f"{line}: the plan lacks what comes later")
                elapsed = time.monotonic() - began - pilot.elapsed
                computed = time.process_time() - processor - pilot.processor
                fixed, more = (session.store.bytes_for(count) for count in (0, 1000))
                self._found = Measured(
                    tuple(pilot.tasks),
                    self._loading or Cost(),
                    Cost.known(max(0.0, elapsed), max(0.0, computed)),
                    fixed,
                    (more - fixed) / 1000,
                )
                raise PilotEndedError from ended

    def _open(self, options: AnalysisOptions) -> SessionContext:
        """Model and images of the command, opened once."""
        if self._opened is not None:
            return self._opened
        if options.ray is not None:
            refuse_in_plan("--ray")
        from robcert.certify.auditing import open_session
        from robcert.certify.planning import Cost

        from .render import print_warning
        from .session import note, request_of, tell_configured

        tell_configured(self.options)
        request = replace(request_of(options), out=self._folder() / "opened.h5", seconds=None)
        self._opened = self._stack.enter_context(
            open_session(
                request,
                on_note=lambda line: note(self.options, line),
                on_warning=print_warning,
            )
        )
        self._loading = Cost.known(time.monotonic() - self.began, time.process_time())
        return self._opened

    def _folder(self) -> Path:
        """A folder for results files, removed at the end."""
        if self._place is None:
            folder = tempfile.TemporaryDirectory(prefix="robcert-plan-")
            self._place = Path(self._stack.enter_context(folder))
        return self._place


def _print_plan(options: AnalysisOptions, wish: Wish, pilots: Pilots, *, profile: str) -> None:
    """Print the plan as tables or as JSON."""
    import resource

    from robcert.certify.planning import Plan, budget_sentence, tables

    from .echo import echo, echo_json
    from .render import print_tables

    plan = Plan(
        command=wish.command,
        images=pilots.images,
        profile=profile,
        measured=pilots.measured,
        memory=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        pilot_seconds=time.monotonic() - pilots.began,
        budget=wish.budget,
    )
    if options.as_json:
        echo_json(plan.to_json())
        return
    print_tables(tables(plan))
    if plan.choice is not None:
        echo(budget_sentence(plan, plan.choice))

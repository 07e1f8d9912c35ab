"""`--junit`, `--sarif` and `--markdown`: how the checks of a command ended, for other programs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.errors import ContradictionError, InvalidParameterError

from . import checks
from .invocation import configured
from .session import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.auditing import Findings
    from robcert.certify.evidence import Check
    from robcert.certify.gates import Decision, Gate

    from .options import AnalysisOptions
    from .session import CommandContext


BEGINNINGS = {
    "--junit": b'<testsuites name="robcert"',
    "--sarif": b'{\n  "$schema": "https://docs.oasis-open.org/sarif/',
    "--markdown": b"## robcert: ",
}
"""How the files begin: a configuration file, which others may have written, replaces no others."""


def require_check_files(options: AnalysisOptions) -> None:
    """Raise unless the requested files can be written; called before the work starts.

    Raises:
        InvalidParameterError: one cannot, or would replace another file of the command, or one that
            is not robcert's own because a configuration file says so.
    """
    from robcert.certify.whole_file import can_be_written

    given = configured()
    taken = {one.resolve() for one in (options.model, options.out) if one is not None}
    if options.data is not None:
        taken.add(Path(options.data).resolve())
    for option, path in _requested(options).items():
        if not can_be_written(path):
            message = f"{option}: no file can be written at {path}"
            raise InvalidParameterError(message, hint="check the folder and its permissions")
        key = option.removeprefix("--")
        if key in given.words and not _is_own(option, path):
            message = f"{given.file}: {key}: {path} exists, and robcert did not write it"
            raise InvalidParameterError(message, hint=f"name another file, or pass {option}")
        if path.resolve() in taken:
            message = f"{option} {path} names a file that this command reads or writes otherwise"
            raise InvalidParameterError(message, hint="name a new file for each option")
        if path.is_file() or not path.exists():  # a device or pipe takes several
            taken.add(path.resolve())


def _is_own(option: str, path: Path) -> bool:
    """Whether the file at ``path`` is what robcert writes there; or there is none."""
    if not path.is_file():
        return True
    beginning = BEGINNINGS[option]
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


@contextlib.contextmanager
def on_contradiction(
    context: CommandContext, command: str, gates: Sequence[Gate]
) -> Iterator[None]:
    """Write the files also where the command ends because a certificate is refuted."""
    from robcert.certify.auditing import findings_of

    try:
        yield
    except ContradictionError:
        found = findings_of(context.session.store)
        write_check_files(context, command, found, checks.decided(gates, found))
        raise


def write_check_files(
    context: CommandContext, command: str, found: Findings, decisions: Sequence[Decision]
) -> None:
    """Write the requested files, whether the checks passed or not.

    Args:
        context: the open session and the options.
        command: name of the command.
        found: what its checks are about.
        decisions: how its gates ended.
    """
    requested = _requested(context.options)
    if not requested:
        return
    from robcert.certify.evidence import checks_of
    from robcert.certify.whole_file import write_whole

    made = checks_of(context.session.store, found, decisions, audited=command == "audit")
    content = {
        "--junit": lambda: _junit(context, command, made),
        "--sarif": lambda: _sarif(context, command, made),
        "--markdown": lambda: _markdown(context, found, made),
    }
    for option, path in requested.items():
        write_whole(path, content[option]())
        note(context.options, f"{option.removeprefix('--')}: {path}")


def _requested(options: AnalysisOptions) -> dict[str, Path]:
    named = {"--junit": options.junit, "--sarif": options.sarif, "--markdown": options.markdown}
    return {option: path for option, path in named.items() if path is not None}


def _junit(context: CommandContext, command: str, made: Sequence[Check]) -> bytes:
    from robcert.certify.evidence import junit_bytes

    store = context.session.store
    facts = {
        "model": str(store.model["file"]),
        "model.sha256": str(store.model["sha256"]),
        "data": str(store.data["name"]),
        "data.sha256": str(store.data["sha256"]),
        "images": str(len(context.session.indices)),
        "robcert": str(store.header["robcert_version"]),
        "results": str(store.path),
    }
    return junit_bytes(made, f"robcert {command}", facts)


def _sarif(context: CommandContext, command: str, made: Sequence[Check]) -> bytes:
    from robcert.certify.evidence import Artifact, sarif_log
    from robcert.certify.exports import json_bytes

    model = context.session.store.model
    path = path_in_repository(context.options.model, str(model["file"]))
    log = sarif_log(made, Artifact(path, str(model["sha256"])), command)
    return json_bytes(log)


def _markdown(context: CommandContext, found: Findings, made: Sequence[Check]) -> bytes:
    from robcert.certify.auditing import verdict
    from robcert.certify.evidence import job_summary

    return job_summary(context.session.store, found, verdict(found), made).encode()


def path_in_repository(model: Path | None, name: str) -> str:
    """Path of ``model`` below the root of the repository, as code hosts need it.

    The root is that of the CI job, else the nearest folder above with ``.git``, else the working
    directory. A model elsewhere, or the bundled one, has its ``name`` alone.
    """
    if model is None:
        return name
    path = model.resolve()
    stated = [os.environ.get(name) for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")]
    roots = [Path(root).resolve() for root in stated if root]
    roots += [above for above in path.parents if (above / ".git").exists()]
    for root in (*roots, Path.cwd()):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return name

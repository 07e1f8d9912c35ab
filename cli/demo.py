"""`robcert demo`: audits of two bundled models, one honest and one that masks its gradients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shell.echo import echo
from .shell.options import AnalysisOptions
from .shell.session import command_context, note

if TYPE_CHECKING:
    from robcert.certify.auditing import AuditVerdict

MODELS = ("fashion-honest.onnx", "fashion-masked.onnx")
DATA = "fashion-mnist-2000"
IMAGES = 100


def demo(
    out_dir: Annotated[
        Path, typer.Option("--out-dir", help="Folder for the results files and reports.")
    ] = Path("robcert-demo"),
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Audit two bundled models, one honest and one masked, and write both reports.

    Takes about a minute on two cores. Prints two verdicts, which follow from certified,
    estimated, attacked and measured numbers; the reports show them all.

    Example: robcert demo --out-dir robcert-demo
    """
    from robcert.certify.auditing import bundled

    from .shell.render import print_verdict

    pages = []
    for name in MODELS:
        options = AnalysisOptions(
            model=bundled(name),
            data=DATA,
            limit=IMAGES,
            out=out_dir / f"{Path(name).stem}.h5",
            profile="quick",
            quiet=quiet,
        )
        note(options, f"auditing {name} on {IMAGES} images of {DATA}")
        verdict, page = _audited(options)
        print_verdict(verdict, name=name)
        pages.append(page)
    echo("reports, to open in a browser:")
    for page in pages:
        echo(f"  {page}")


def _audited(options: AnalysisOptions) -> tuple[AuditVerdict, Path]:
    from robcert.certify.auditing import AuditSettings

    from .audit import run_audit, write_page
    from .shell.session import epsilons

    settings = AuditSettings.of_profile(
        options.profile, norm=options.norm, epsilon=epsilons(options)[0]
    )
    with command_context(options) as context:
        summary = run_audit(context, settings)
        return summary.verdict, write_page(context)

"""The page of several results files: ranking, what it rests on, paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.comparison import ball_of, compare, names, overview_table
from robcert.certify.store import ResultStore
from robcert.certify.whole_file import write_whole

from .comparison_curves import claim_curves
from .paired_differences import against_first, note
from .plain_words import ball_in_words, preprocessing_in_words
from .ranking import MASKED, headline, ranked, ranking_figure, ranking_table
from .templates import rendered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.comparison import Comparison, ComparisonSettings
    from robcert.certify.tables import Table


def write_comparison(
    results_files: Sequence[Path],
    destination: Path | None = None,
    settings: ComparisonSettings | None = None,
) -> Path:
    """Write the page that compares ``results_files`` and return its path.

    Args:
        results_files: two or more; the others are compared with the first.
        destination: the page; None for `comparison.html` beside the first file.
        settings: radii, level of the intervals, correction of the p-values; None for the defaults.

    Raises:
        RobcertError: as :func:`robcert.certify.comparison.compare`, or the page cannot be written.
    """
    target = destination or results_files[0].with_name("comparison.html")
    return write_compared(compare(results_files, settings), target)


def write_compared(found: Comparison, target: Path, unranked: Table | None = None) -> Path:
    """Write the page of ``found`` and return its path.

    Args:
        found: models side by side.
        target: the page.
        unranked: models of the same command that are not compared, and why.

    Raises:
        OutputError: the page cannot be written.
    """
    write_whole(target, render_comparison(found, unranked).encode())
    return target


def render_comparison(found: Comparison, unranked: Table | None = None) -> str:
    """The page of ``found`` as text."""
    with ResultStore.read(Path(found.first.results)) as store:
        created, version = str(store.header["created"])[:10], store.header["robcert_version"]
    models = ranked(found)
    main = next((row for row in found.rows if row.epsilon is not None), None)
    ball = "" if main is None else _ball(str(main.norm), main.epsilon or 0.0)
    content: dict[str, Any] = {
        "version": version,
        "created": created,
        "data": found.data,
        "images": found.rows[0].images,
        "heading": f"{len(found.rows)} models compared" if found.others else "One model",
        "headline": headline(models),
        "ball": ball,
        "figure": ranking_figure(models),
        "labelled": found.labelled,
        "curves": claim_curves(models),
        "table": ranking_table(models),
        "unranked": unranked,
        "overview": overview_table(found.rows),
        "assumed": tuple(_assumed(found)),
        "doubtful": tuple(_doubtful(found)),
        "against": against_first(found),
        "note": note(found),
        "files": [Path(row.results).name for row in found.rows],
    }
    return rendered("comparison.html.j2", content)


def _ball(norm: str, epsilon: float) -> str:
    return f"{ball_in_words(norm, epsilon)}."


def _assumed(found: Comparison) -> Iterator[str]:
    """What the numbers of every model rest on; one sentence for equal preprocessings."""
    models = (found.first, *found.others)
    by_words: dict[str, list[str]] = {}
    for name, one in zip(names(found.rows), models, strict=True):
        by_words.setdefault(_preprocessing(one.model), []).append(name)
    for words, of in by_words.items():
        which = "all models" if len(by_words) == 1 else ", ".join(of)
        yield f"Preprocessing of {which}: {words}."
    yield "Accuracy cannot verify a preprocessing, and a wrong scale changes every distance."
    yield f"Images: those of {found.data['name']}; differences are over the images in both files."


def _preprocessing(model: dict[str, Any]) -> str:
    return preprocessing_in_words(model.get("preprocessing") or {})


def _doubtful(found: Comparison) -> Iterator[str]:
    """Reasons to doubt the ranking, one sentence each."""
    together = list(zip(names(found.rows), found.rows, strict=True))
    for name, row in together:
        if row.masking == MASKED:
            yield f"{name} masks its gradients: its accuracy under attack is too high."
        elif row.masking not in (None, "clear"):
            yield f"{name}: gradients are {row.masking}, attacks may have missed some images."
    unchecked = [name for name, row in together if row.masking is None]
    if unchecked:
        yield f"Not checked for masking: {', '.join(unchecked)}."
    if not found.labelled:
        yield "No labels: every number is about the models' own predictions, not about accuracy."
    if len({ball_of(row) for row in found.rows if row.epsilon is not None}) > 1:
        yield "The files were attacked at different radii: only equal ones are ranked."
    if any(row.by_distance for row in found.rows):
        yield "By distance: no attack searched within the radius for some models."
    if len({row.images for row in found.rows}) > 1:
        yield "The files hold different numbers of images; the ranking uses all of each file."

"""Pages from the templates of this package."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from robcert.certify.visible import visible

from .glossary import GLOSSARY

if TYPE_CHECKING:
    from collections.abc import Mapping


OWN = "robcert.certify.report"
"""Package of the templates that all pages share."""


def rendered(template: str, content: Mapping[str, Any], *, package: str = OWN) -> str:
    """The page ``template``; nothing of a foreign file in it, figures included, is invisible.

    Args:
        template: its name in the folder ``templates`` of ``package``, or of this package.
        content: what it shows.
        package: where the template is.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(partial(_source, package)),
        undefined=StrictUndefined,
    )
    terms = {term.key: term for term in GLOSSARY}
    page = environment.get_template(template).render(content, terms=terms)
    return visible(page)


def _source(package: str, name: str) -> str:
    place = files(package).joinpath("templates", name)
    if not place.is_file():
        place = files(OWN).joinpath("templates", name)
    return place.read_text(encoding="utf-8")

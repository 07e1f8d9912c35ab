"""Pages from the templates of this package."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from robcert.certify.visible import visible

from .glossary import GLOSSARY

if TYPE_CHECKING:
    from collections.abc import Mapping


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """The page ``template``; nothing of a foreign file in it, figures included, is invisible."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
    )
    terms = {term.key: term for term in GLOSSARY}
    page = environment.get_template(template).render(content, terms=terms)
    return visible(page)


def _source(name: str) -> str:
    place = files("robcert.certify.report").joinpath("templates", name)
    return place.read_text(encoding="utf-8")

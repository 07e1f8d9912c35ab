"""Items: what they name exists, and published values can be what they are said to be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tiny_items import TINY

from robcert.certify.attacks import CATALOGUE
from robcert.certify.errors import InvalidParameterError
from robcert.reproduction import ITEMS, item_named, listing, needs
from robcert.reproduction.analyses import Attack, Transfer
from robcert.reproduction.plan import paper_config

if TYPE_CHECKING:
    from robcert.reproduction.item import Item

items = pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)


MIXED = ("LLR-Tab3a", "LLR-Tab3b", "LLR-TabF3-imagenet", "SOAR-Tab3", "SOAR-Tab4")
"""Items whose columns are not attacks on one network from weak to strong."""


@items
def test_every_model_has_a_recipe_and_its_options_are_those_of_the_method(item: Item) -> None:
    names = [model.name for model in item.models]
    assert len(set(names)) == len(names)
    for place, model in enumerate(item.models):
        config = paper_config(model)
        assert config.data == item.data, model.name
        assert not model.start or model.start in names[:place]


@items
def test_rows_and_columns_fit_each_other(item: Item) -> None:
    assert {row.model for row in item.rows} - {""} <= {model.name for model in item.models}
    for row in item.rows:
        assert len(row.published) == len(item.columns)
        assert row.model or row.note, "a row without a model says why"
        analyses = (
            {one.name for one in item.analyses_of(item.model(row.model))} if row.model else None
        )
        assert analyses is None or {column.analysis for column in item.columns} <= analyses


@items
def test_published_shares_are_shares_and_other_numbers_are_not_negative(item: Item) -> None:
    for row in item.rows:
        for column, value in zip(item.columns, row.published, strict=True):
            if value is not None:
                assert 0 <= value <= (100 if column.form != "value" else 1000)


@items
def test_published_accuracy_does_not_rise_where_attacks_are_stronger(item: Item) -> None:
    """The columns of attacks go from weak to strong in every table of accuracies."""
    places = [n for n, c in enumerate(item.columns) if c.claim == "attacked" and c.form == "share"]
    if item.name in MIXED:
        pytest.skip("success rates, or attacks from other networks")
    for row in item.rows:
        values = [row.published[place] for place in places]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=True), row.name


@items
def test_attacks_and_sources_exist(item: Item) -> None:
    for model in item.models:
        for one in item.analyses_of(model):
            if isinstance(one, Attack):
                assert set(one.attacks) <= CATALOGUE.keys()
                assert all(one.norm in CATALOGUE[name].norms for name in one.attacks)
                assert bool(one.restarts) == any("targeted" in name for name in one.attacks)
            if isinstance(one, Transfer):
                assert set(one.of) <= {model.name for model in item.models}


@items
def test_errata_have_the_names_of_the_list(item: Item) -> None:
    for line in item.errata:
        if line.startswith("E-"):
            assert re.match(r"E-(LLR|IGR|SOAR)-\d+[:,]", line), line


def test_an_item_is_found_whatever_its_case_and_a_near_name_is_proposed() -> None:
    assert item_named("llr-tab2A") is ITEMS["LLR-Tab2a"]
    with pytest.raises(InvalidParameterError) as caught:
        item_named("LLR-Tab22")
    assert "did you mean LLR-Tab2" in caught.value.hint


def test_the_list_has_every_item_with_a_positive_effort() -> None:
    assert [row[0] for row in listing().rows] == list(ITEMS)
    assert all(one["passes"] > one["training_images"] for one in needs())


def test_an_item_knows_its_models_only() -> None:
    assert TINY.analyses_of(TINY.model("plain")) == TINY.analyses
    with pytest.raises(InvalidParameterError, match="no model"):
        TINY.model("other")

"""A region's prices are found by its name, a user's own by their file; what can't be read says so."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from keyturn.adapters.price_list import load_price_file, load_prices, load_prices_or_reference
from keyturn.errors import SettingsError

OWN = Path(str(files("keyturn"))) / "prices/us-east-1.json"


def test_a_region_without_a_list_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(SettingsError, match=r"no price list for region 'mars-1', only for us-east-1: name a file"):
        load_prices("mars-1")


def test_where_a_rough_figure_will_do_the_reference_stands_in_and_says_so() -> None:
    assert load_prices_or_reference("mars-1").region == "us-east-1"


def test_each_list_is_named_by_its_region() -> None:
    for file in OWN.parent.iterdir():
        assert load_prices(file.stem).region == file.stem


def test_a_list_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    shutil.copy(OWN, tmp_path / "own.json")
    assert load_price_file(tmp_path / "own.json") == load_prices("us-east-1")


def test_a_file_that_cant_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"price list .*none.json can't be read: No such file"):
        load_price_file(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text("{")
    with pytest.raises(SettingsError, match=r"price list .*odd.json is not JSON"):
        load_price_file(tmp_path / "odd.json")

"""A price list is whole or says what it lacks; what it charges rounds as AWS does."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.price_list import load_prices
from keyturn.core.prices import parse_prices
from keyturn.errors import SettingsError

FILE = Path(__file__).parents[2] / "src/keyturn/prices/us-east-1.json"
PRICES = load_prices("us-east-1")


def document() -> Any:
    """A copy of the file to spoil."""
    return json.loads(FILE.read_bytes())


def problem(spoilt: Any) -> str:
    """What is said of it."""
    with pytest.raises(SettingsError) as caught:
        parse_prices(spoilt, "my.json")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_list_says_where_and_when_it_holds_and_what_nobody_could_check() -> None:
    assert (PRICES.region, PRICES.read_on.isoformat()) == ("us-east-1", "2026-11-24")
    assert PRICES.unchecked == {"logs_gb_month", "s3_gb_month", "sqs_request"}


def test_prices_are_of_one_unit_each() -> None:
    """As the pricing pages have them: $25 a million transitions, $0.625 a million write units."""
    assert PRICES.standard_transition * 1_000_000 == pytest.approx(25)
    assert PRICES.dynamodb_write_unit * 1_000_000 == pytest.approx(0.625)
    assert PRICES.lambda_gb_s("arm64") < PRICES.lambda_gb_s("x86_64")


def test_a_small_express_run_is_billed_a_tenth_of_a_second_of_64_mb() -> None:
    """The workshop's figure: 0.0000001042 for each 100 ms."""
    assert PRICES.express_usd(PRICES.express_billed_gb_s(1)) == pytest.approx(1.042e-7, rel=1e-3)
    assert PRICES.express_billed_gb_s(100) == PRICES.express_billed_gb_s(0)
    assert PRICES.express_billed_gb_s(101) == 2 * PRICES.express_billed_gb_s(100)
    assert PRICES.express_billed_gb_s(100, payload_mb=14.1) == 2 * PRICES.express_billed_gb_s(100, payload_mb=14)


def test_express_time_gets_cheaper_by_tiers_of_gb_hours() -> None:
    """$60 for the first 1,000, $120 for the next 4,000, $0.01642 for each after that."""
    assert PRICES.express_gb_s[-1].up_to == inf
    assert PRICES.express_usd(1_000 * 3_600) == pytest.approx(60)
    assert PRICES.express_usd(5_000 * 3_600) == pytest.approx(180)
    assert PRICES.express_usd(5_100 * 3_600) == pytest.approx(181.642)


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_more_express_time_never_costs_less(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert PRICES.express_usd(low) <= PRICES.express_usd(high)


def test_all_that_is_missing_is_named_at_once() -> None:
    spoilt = document()
    del spoilt["prices"]["s3_put"], spoilt["prices"]["express_gb_s"], spoilt["rounding"]["express_ms"]
    spoilt["read_on"] = "yesterday"
    said = problem(spoilt)
    for name in (
        "prices.s3_put is missing",
        "prices.express_gb_s is missing",
        "rounding.express_ms",
        "read_on",
        "my.json",
    ):
        assert name in said, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"usd": -1, "per": 1, "source": "x"}, "must have usd, 0 or more"),
        ({"usd": 1, "per": 0, "source": "x"}, "per, more than 0"),
        ({"usd": True, "per": 1, "source": "x"}, "must have usd"),
        ({"usd": "1", "per": 1, "source": "x"}, "must have usd"),
        ({"usd": 1, "per": 1}, "with a source"),
        (0.5, "with a source"),
    ],
)
def test_a_price_has_dollars_a_number_of_units_and_a_source(change: Any, said: str) -> None:
    spoilt = document()
    spoilt["prices"]["s3_put"] = change
    assert "prices.s3_put must" in problem(spoilt)
    assert said in problem(spoilt)


@pytest.mark.parametrize(
    "bounds", [[2, 1, None], [1, 2, 3], [1, 1, None], [None, 1, None], ["1", 2, None], [0, None], [-1, None]]
)
def test_tiers_rise_to_an_open_end(bounds: list[Any]) -> None:
    spoilt = document()
    spoilt["prices"]["express_gb_s"]["tiers"] = [{"up_to": bound, "usd": 1, "per": 1} for bound in bounds]
    assert "must rise in up_to" in problem(spoilt)


def test_a_name_that_is_misspelt_is_told() -> None:
    spoilt = document()
    spoilt["prices"]["s3_putt"] = spoilt["prices"].pop("s3_put")
    assert "s3_putt is no price that Keyturn knows" in problem(spoilt)


@pytest.mark.parametrize("spoilt", [[], None, {}, {"prices": 1, "rounding": []}])
def test_what_is_no_price_list_is_refused(spoilt: Any) -> None:
    assert problem(spoilt).startswith("my.json: ")

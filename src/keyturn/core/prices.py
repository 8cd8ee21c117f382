"""What AWS asks for in one region, as a value.

Every price is in US dollars for one of the unit that ends its name, on demand, without free tiers and without volume
steps unless it says so. The figures stand in dated files (`keyturn/prices/REGION.json`), each with its source;
`keyturn.adapters.price_list` reads them. Estimates rest on them and no bill does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date
from math import ceil, inf, isfinite
from typing import Any, Final, TypeGuard

from keyturn.errors import SettingsError

MILLION: Final = 1_000_000
GB_BYTES: Final = 1_024**3
"""What AWS bills as a gigabyte."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A price up to an amount a month."""

    up_to: float
    """In the price's unit, a month; infinite for the last tier."""
    usd: float


@dataclass(frozen=True, slots=True)
class Rounding:
    """The steps in which AWS counts what it bills."""

    express_ms: int
    express_mb: int
    express_base_mb: int
    """What an Express execution is billed for besides its definition and payloads."""
    kinesis_put_unit_bytes: int
    kinesis_on_demand_record_bytes: int
    write_unit_bytes: int
    read_unit_bytes: int
    """Of a strongly consistent read; an eventually consistent one reads twice as much for a unit."""


@dataclass(frozen=True, slots=True)
class PriceList:
    """The prices of one region, on one day."""

    region: str
    read_on: date
    unchecked: frozenset[str]
    """Names of the prices whose source nobody could read."""
    rounding: Rounding
    express_gb_s: tuple[Tier, ...]

    standard_transition: float
    express_start: float
    lambda_request: float
    lambda_gb_s_x86: float
    lambda_gb_s_arm: float
    dynamodb_write_unit: float
    """On demand. What an index is written costs the same; a transaction's writes cost two each."""
    dynamodb_read_unit: float
    dynamodb_gb_month: float
    kinesis_on_demand_stream_hour: float
    kinesis_on_demand_gb_in: float
    kinesis_on_demand_gb_out: float
    kinesis_shard_hour: float
    kinesis_put_unit: float
    logs_gb_in: float
    logs_gb_month: float
    metric_month: float
    s3_put: float
    s3_get: float
    s3_gb_month: float
    sqs_request: float
    eventbridge_event: float
    """A custom one; what AWS's services report of themselves is free."""

    def express_usd(self, gb_s: float) -> float:
        """Dollars for so many GB-seconds of Express executions in one month, by tiers."""
        below, usd = 0.0, 0.0
        for tier in self.express_gb_s:
            usd += max(0.0, min(gb_s, tier.up_to) - below) * tier.usd
            below = tier.up_to
        return usd

    def express_billed_gb_s(self, duration_ms: float, payload_mb: float = 0.0) -> float:
        """GB-seconds that one Express execution is billed for.

        `payload_mb` is its definition and what its states hold at once, times the branches of a Parallel or Map.
        """
        steps = max(1, ceil(duration_ms / self.rounding.express_ms))
        blocks = ceil((self.rounding.express_base_mb + payload_mb) / self.rounding.express_mb)
        return steps * self.rounding.express_ms / 1_000 * blocks * self.rounding.express_mb / 1_024

    def lambda_gb_s(self, architecture: str) -> float:
        """Dollars a GB-second by the processor, as the template names it: x86_64 or arm64."""
        return self.lambda_gb_s_arm if architecture == "arm64" else self.lambda_gb_s_x86


_PRICES: Final = tuple(field.name for field in fields(PriceList) if field.type is float)
_ROUNDINGS: Final = tuple(field.name for field in fields(Rounding))
_TIERED: Final = "express_gb_s"


def parse_prices(document: Any, where: str) -> PriceList:
    """Read a price list as its file has it; `where` names the file in messages.

    Each price is `{"usd": 25.0, "per": 1000000, "source": "..."}`, with `"is_checked": false` if its source couldn't be
    read. Raises SettingsError with everything that is missing, odd or unknown at once.
    """
    if not isinstance(document, Mapping):
        raise SettingsError(f"{where}: a price list is a JSON object")
    prices, rounding = _object(document, "prices"), _object(document, "rounding")
    problems = [*_problems(document), *_problems_of_prices(prices), *_problems_of_rounding(rounding)]
    if problems:
        raise SettingsError(f"{where}: {'; '.join(problems)}. src/keyturn/prices/us-east-1.json shows all of it")
    return PriceList(
        region=document["region"],
        read_on=date.fromisoformat(document["read_on"]),
        unchecked=frozenset(name for name, price in prices.items() if price.get("is_checked") is False),
        rounding=Rounding(**rounding),
        express_gb_s=tuple(
            Tier(inf if tier["up_to"] is None else float(tier["up_to"]), tier["usd"] / tier["per"])
            for tier in prices[_TIERED]["tiers"]
        ),
        **{name: prices[name]["usd"] / prices[name]["per"] for name in _PRICES},
    )


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    region = document.get("region")
    if not isinstance(region, str) or not region:
        yield "region must name the region"
    read_on = document.get("read_on")
    try:
        date.fromisoformat(read_on if isinstance(read_on, str) else "")
    except ValueError:
        yield "read_on must be the day on which the prices were read, as 2026-11-24"
    for name in ("prices", "rounding"):
        if not isinstance(document.get(name), Mapping):
            yield f"{name} must be an object"


def _problems_of_prices(prices: Mapping[str, Any]) -> Iterator[str]:
    for name in (*_PRICES, _TIERED):
        if name not in prices:
            yield f"prices.{name} is missing"
    for name, price in prices.items():
        if name not in {*_PRICES, _TIERED}:
            yield f"prices.{name} is no price that Keyturn knows"
        elif not isinstance(price, Mapping) or not isinstance(price.get("source"), str) or not price["source"]:
            yield f"prices.{name} must be an object with a source"
        elif name == _TIERED:
            yield from _problems_of_tiers(price.get("tiers"))
        elif not _is_price(price):
            yield f"prices.{name} must have usd, 0 or more, and per, more than 0"


def _problems_of_tiers(tiers: Any) -> Iterator[str]:
    if not isinstance(tiers, list) or not tiers or not all(_is_price(tier) and "up_to" in tier for tier in tiers):
        yield f"prices.{_TIERED}.tiers must be a list of objects with up_to, usd and per"
        return
    bounds = [tier["up_to"] for tier in tiers]
    numbers = bounds[:-1]
    if bounds[-1] is not None or not all(map(_is_number, numbers)) or sorted({0, *numbers}) != [0, *numbers]:
        yield f"prices.{_TIERED}.tiers must rise in up_to, from more than 0, and the last one's must be null"


def _problems_of_rounding(rounding: Mapping[str, Any]) -> Iterator[str]:
    for name in _ROUNDINGS:
        value = rounding.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"rounding.{name} must be a whole number, 1 or more"
    yield from (f"rounding.{name} is nothing that Keyturn knows" for name in rounding if name not in _ROUNDINGS)


def _is_price(price: Any) -> bool:
    if not isinstance(price, Mapping):
        return False
    usd, per = price.get("usd"), price.get("per")
    return _is_number(usd) and _is_number(per) and usd >= 0 and per > 0


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)

"""The price lists that come with the library, one file a region, and a user's own."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from keyturn.core.parse import parse_json
from keyturn.core.prices import PriceList, parse_prices
from keyturn.errors import SettingsError

REFERENCE_REGION: Final = "us-east-1"
"""Whose prices stand in where a region has no list of its own: others differ by some percent."""


@cache
def load_prices(region: str) -> PriceList:
    """Read the list of a region. Raises SettingsError naming the regions that there are."""
    file = _lists().get(region)
    if file is None:
        raise SettingsError(
            f"there is no price list for region {region!r}, only for {', '.join(sorted(_lists()))}: name a file of your"
            " own"
        )
    return _read(file, file.name)


def load_prices_or_reference(region: str) -> PriceList:
    """Read the list of a region, or the reference region's where there is none: the list says which it is."""
    return load_prices(region if region in _lists() else REFERENCE_REGION)


def load_price_file(path: Path) -> PriceList:
    """Read a list of the user's own. Raises SettingsError."""
    return _read(path, str(path))


@cache
def _lists() -> Mapping[str, Traversable]:
    folder = files("keyturn") / "prices"
    return {file.name.removesuffix(".json"): file for file in folder.iterdir() if file.name.endswith(".json")}


def _read(file: Traversable, name: str) -> PriceList:
    try:
        return parse_prices(parse_json(file.read_bytes()), name)
    except OSError as error:
        raise SettingsError(f"price list {name} can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise SettingsError(f"price list {name} is not JSON: {error}") from error

"""Whatever stands in routes.json and the schemas, it is taken or refused in one line, before a record comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters import schemas
from keyturn.adapters.records import read_records
from keyturn.core.event import Admissible, Rejection
from keyturn.core.route import Routes
from keyturn.errors import SettingsError
from tests.adapters.wire import event, record
from tests.hostile.effort import looking
from tests.hostile.junk import altered, altered_bytes, as_json, junk

HOME = Path(str(files("keyturn_routes")))
ROUTES: dict[str, Any] = {
    "routes": [
        {
            "name": "placed", "type": "shop.order.placed", "workflow": "order", "kind": "standard",
            "schema": "own.json", "run_timeout_s": 20, "worker_timeout_s": 3, "max_attempts": 2,
            "on_exhaustion": "park", "breaker": "b",
            "backoff": {"first_s": 1, "rate": 2.0, "max_s": 10}, "batch": {"events": 1, "bytes": 180_000},
            "personal_key": True,
            "plain": {"match": {"/kind": "x"}, "source": "/s", "id": ["/a", "/b"], "subject": "/c", "time": "/d"},
        }
    ],
    "breakers": {"b": {"keys": 2, "window_s": 60, "probe_after_s": 1, "probe_after_max_s": 9}},
}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["order_id"],
    "properties": {
        "order_id": {"type": "string", "pattern": "^[0-9a-z]+$", "maxLength": 64},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "uniqueItems": True},
        "at": {"format": "date-time"},
    },
    "patternProperties": {"^x-": {"enum": [1, 2]}},
    "additionalProperties": True,
    "$defs": {"line": {"anyOf": [{"required": ["sku"]}, {"$ref": "#"}], "propertyNames": {"maxLength": 9}}},
}
SPOILING = (
    "https://[",
    "#/$defs/line/0",
    "#x",
    "own.json#/a~2",
    "(",
    "[",
    "(a+)+$",
    "own.json",
    "\x00",
    "objekt",
    "%",
    "#/%FF",
)


@contextmanager
def deployed(routes: bytes, schema: bytes) -> Iterator[None]:
    """Have a package of these two files besides the library's own."""
    caches = (schemas.load_routes, schemas.validator, schemas._schemas, schemas._registry)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        home = Path(folder)
        (home / "schemas").mkdir()
        (home / "routes.json").write_bytes(routes)
        (home / "schemas" / "own.json").write_bytes(schema)
        for name in (schemas.ENVELOPE, "routes.schema.json"):
            (home / name).write_bytes((HOME / name).read_bytes())
        patch.setattr(schemas, "files", lambda _: home)
        for cached in caches:
            cached.cache_clear()
        try:
            yield
        finally:
            for cached in caches:
                cached.cache_clear()


def loaded(routes: bytes, schema: bytes = as_json(SCHEMA)) -> Routes | None:
    """Load such a package; None when it was refused, in one line."""
    said = ""
    with deployed(routes, schema):
        try:
            return schemas.load_routes()
        except SettingsError as error:
            said = str(error)
    assert len(said) < 1_000
    assert "\n" not in said
    return None


def test_the_package_that_is_spoiled_below_is_sound() -> None:
    """Else everything would be refused for one reason."""
    assert loaded(as_json(ROUTES))


@looking(50)
@given(st.one_of(altered(ROUTES).map(as_json), altered_bytes(as_json(ROUTES)), junk.map(as_json)))
def test_any_routes_file_is_taken_or_refused(routes: bytes) -> None:
    """What is taken can be asked for everything that a run asks."""
    found = loaded(routes)
    for route in found.routes if found else ():
        assert route.backoff.delay_ms(1) <= route.backoff.delay_ms(1_000)
        found.for_type(route.type)  # type: ignore[union-attr]


@looking(50)
@given(
    st.one_of(altered(SCHEMA, st.one_of(junk, st.sampled_from(SPOILING))).map(as_json), altered_bytes(as_json(SCHEMA)))
)
def test_any_schema_is_taken_or_refused(schema: bytes) -> None:
    """A schema that is taken can be applied to a record: what it can't do then is the record's rejection."""
    with deployed(as_json(ROUTES), schema):
        try:
            routes = schemas.load_routes()
        except SettingsError:
            return
        data = {"order_id": "1", "lines": [{"sku": "a"}, {"lines": []}], "x-1": 3, "at": "never"}
        batch = {"Records": [record(event(data=data))]}
        (found,) = read_records(batch, routes, epoch=1, accepts_aggregated=False)
        assert isinstance(found, Admissible | Rejection)


def problem_with(routes: bytes, schema: bytes = as_json(SCHEMA)) -> str:
    with deployed(routes, schema), pytest.raises(SettingsError) as caught:
        schemas.load_routes()
    return str(caught.value)


@pytest.mark.parametrize("field", ["first_s", "rate", "max_s"])
def test_a_backoff_that_is_no_number_is_refused(field: str) -> None:
    """JSON knows no NaN, and every comparison with it is false: it would pass all bounds and fail the first retry."""
    routes = json.loads(json.dumps(ROUTES))
    routes["routes"][0]["backoff"][field] = float("nan")
    assert "NaN is no JSON number" in problem_with(as_json(routes))


def test_a_routes_file_that_says_something_twice_is_refused() -> None:
    """Readers would disagree on which of them counts."""
    routes = as_json(ROUTES).replace(b'"max_attempts": 2', b'"max_attempts": 2, "max_attempts": 9')
    assert "stands twice in one object" in problem_with(routes)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "https://["}, '$ref "https://[" leads nowhere'),
        ({"$ref": "#/$defs/x/y", "$defs": {"x": ["z"]}}, "own.json"),
        ({"pattern": "("}, "own.json is no JSON Schema: pattern"),
        ({"patternProperties": {"[": True}}, "own.json is no JSON Schema: patternProperties"),
        ({"$defs": {"a": {"$anchor": "x"}, "b": {"$id": "https://["}}}, "can't be read together"),
    ],
    ids=str,
)
def test_a_schema_that_no_record_could_fit_is_told_before_one_comes(schema: Any, said: str) -> None:
    """Else each record of its route would go to quarantine."""
    assert said in problem_with(as_json(ROUTES), as_json(schema))


def test_a_schema_nested_without_end_is_refused() -> None:
    """As an event would be."""
    assert "own.json is not JSON" in problem_with(as_json(ROUTES), b'{"not":' * 5_000 + b"true" + b"}" * 5_000)


@pytest.mark.parametrize(
    ("items", "is_fine"),
    [
        ([1, 2, True, "1", None, [1], [1, 1], {"a": 1}, {"b": 1}], True),
        ([1, 1.0], False),
        ([{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}], False),
        ([0, False, "", [], {}], True),
        ([[1], [True]], True),
    ],
    ids=str,
)
def test_items_are_unique_as_json_schema_has_it(items: list[Any], is_fine: bool) -> None:
    """Numbers by value, true and 1 apart, objects whatever the order of their members."""
    schema = {"properties": {"lines": {"uniqueItems": True}}}
    with deployed(as_json(ROUTES), as_json(schema)):
        problem = schemas.first_problem(schemas.validator("schemas/own.json"), {"lines": items}, "data")
    assert problem == (None if is_fine else "data.lines: breaks uniqueItems true")

"""This deployment's routes and schemas are sound, and what would not be is told before a record comes."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from keyturn.adapters import schemas
from keyturn.errors import SettingsError
from keyturn.limits import RUN_EVENTS_MAX

HOME = Path(str(files("keyturn_routes")))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that a test may spoil."""
    for file in (*HOME.glob("*.json"), *HOME.glob("schemas/*.json")):
        copy = tmp_path / file.relative_to(HOME)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    caches = (schemas.load_routes, schemas.validator, schemas._schemas, schemas._registry)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(schemas, "files", lambda _: tmp_path)
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def change_route(package: Path, **changes: Any) -> None:
    path = package / "routes.json"
    document = json.loads(path.read_text())
    document["routes"][0] |= changes
    path.write_text(json.dumps(document))


def problem() -> str:
    with pytest.raises(SettingsError) as caught:
        schemas.load_routes()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_routes_of_this_deployment_are_sound() -> None:
    """With every schema that they name."""
    assert {route.name for route in schemas.load_routes().routes} >= {"order-placed", "order-shipped", "permit"}


@pytest.mark.usefixtures("package")
def test_a_copy_of_the_package_is_as_sound() -> None:
    """So that what the tests below find is what they spoilt."""
    assert schemas.load_routes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "fast"}, "routes.json, routes[0].kind: must be standard or express"),
        ({"max_attempts": 0}, "routes.json, routes[0].max_attempts: is below minimum 1"),
        ({"retries": 3}, "routes.json, routes[0].retries: is not in the schema"),
        ({"type": "a.*.*"}, "routes.json, routes[0].type: has more than one *"),
        ({"schema": "none.json"}, 'route "order-placed": there is no schema none.json: put it into'),
        ({"schema": "../secret.json"}, "routes[0].schema"),
        ({"run_timeout_s": 3}, 'route "order-placed": run_timeout_s is 3'),
        ({"plain": {"source": "/s", "id": "order_id"}}, "routes[0].plain.id: is no JSON pointer"),
        ({"plain": {"source": "/s", "id": ["/a", "b"]}}, "routes[0].plain.id[1]: is no JSON pointer"),
        (
            {"plain": {"source": "/s", "id": "/a", "match": {"kind": 1}}},
            "routes[0].plain.match.kind: is no JSON pointer",
        ),
        ({"plain": {"id": "/a"}}, "routes[0].plain.source: is missing"),
    ],
)
def test_a_wrong_route_is_told_with_its_field(package: Path, changes: dict[str, Any], message: str) -> None:
    """At build time and at cold start, by the same function."""
    change_route(package, **changes)
    assert message in problem()


@pytest.mark.parametrize("plain", [{"id": "/a"}, {"id": ["/a", "/b/c~1d"], "match": {"/k": "v"}, "subject": "/s"}])
def test_a_plain_mapping_is_taken(package: Path, plain: dict[str, Any]) -> None:
    """With one field as id, or several."""
    change_route(package, plain={"source": "/s"} | plain)
    assert schemas.load_routes().routes[0].plain


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('{"type": "objekt"}', "is no JSON Schema"),
        ("{", "shop.order.placed.json is not JSON"),
        ('{"$ref": "https://example.com/x.json"}', '$ref "https://example.com/x.json" leads nowhere'),
        ('{"$ref": "#/$defs/none"}', '$ref "#/$defs/none" leads nowhere'),
        ('{"$ref": "none.json"}', '$ref "none.json" leads nowhere'),
    ],
)
def test_a_wrong_schema_is_told_before_a_record_comes(package: Path, schema: str, message: str) -> None:
    """Nothing is ever fetched, so what isn't in the package leads nowhere."""
    (package / "schemas" / "shop.order.placed.json").write_text(schema)
    assert message in problem()


def test_a_schema_may_refer_to_one_beside_it(package: Path) -> None:
    """So that a team's events can share what is the same in them."""
    (package / "schemas" / "line.json").write_text('{"required": ["sku"]}')
    (package / "schemas" / "shop.order.placed.json").write_text('{"items": {"$ref": "line.json"}}')
    schemas.load_routes()
    check = schemas.validator("schemas/shop.order.placed.json")
    assert schemas.first_problem(check, [{"sku": 1}, {}], "data") == "data[1].sku: is missing"


def test_a_missing_file_is_told(package: Path) -> None:
    """By its name and where it belongs."""
    (package / "routes.json").unlink()
    assert problem() == "routes.json is missing: put it into src/keyturn_routes"


def test_every_schema_of_this_deployment_belongs_to_a_route() -> None:
    """A schema that no route names is one that somebody thinks is applied."""
    named = {route.schema for route in schemas.load_routes().routes}
    assert {file.name for file in HOME.glob("schemas/*.json")} <= named


@pytest.mark.parametrize(("events", "fits"), [(RUN_EVENTS_MAX, True), (RUN_EVENTS_MAX + 1, False)])
def test_a_run_has_no_more_events_than_a_worker_looks_for(package: Path, events: int, fits: bool) -> None:
    """How far behind a result may be stored is counted from it."""
    change_route(package, batch={"events": events, "bytes": 180_000})
    if fits:
        assert schemas.load_routes().batch_events_max == events
    else:
        assert str(RUN_EVENTS_MAX) in problem()

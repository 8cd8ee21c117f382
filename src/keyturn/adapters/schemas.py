"""The routes file and the JSON Schemas of this deployment, read once a process from the package `keyturn_routes`."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from keyturn.core.canary import with_canary
from keyturn.core.field import name_of
from keyturn.core.parse import parse_json
from keyturn.core.route import Routes, parse_routes
from keyturn.errors import SettingsError

ENVELOPE: Final = "cloudevent.schema.json"
_ROUTES: Final = "routes.schema.json"
_HOME: Final = "keyturn_routes"
_DETAIL_CHARACTERS_MAX: Final = 200

_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:)(\d\d)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
"""RFC 3339, section 5.6; a second of 60 is a leap second."""

_WORDINGS: Final = {
    "required": "is missing",
    "additionalProperties": "is not in the schema",
    "unevaluatedProperties": "is not in the schema",
    "type": "must be {wanted}",
    "enum": "must be {wanted}",
    "const": "must be {wanted}",
    "format": "is no {wanted}",
    **dict.fromkeys(("minimum", "minLength", "minItems", "minProperties"), "is below {rule} {wanted}"),
    **dict.fromkeys(("maximum", "maxLength", "maxItems", "maxProperties"), "is above {rule} {wanted}"),
}


@cache
def load_routes() -> Routes:
    """Read and check this deployment's routes, and add the built-in one.

    Raises SettingsError naming the entry and the field that is wrong.
    """
    document = _read(files(_HOME) / "routes.json")
    problem = first_problem(validator(_ROUTES), document)
    if problem:
        raise SettingsError(f"routes.json, {problem}: correct it in src/{_HOME}/routes.json")
    routes = with_canary(parse_routes(document))
    for route in routes.routes:
        if route.schema is not None and schema_name(route.schema) not in _schemas():
            raise SettingsError(
                f'routes.json, route "{route.name}": there is no schema {route.schema}: '
                f"put it into src/{_HOME}/schemas, or say null"
            )
    for name in _schemas():
        validator(name)
    return routes


def schema_name(file: str) -> str:
    """Return how `validator` knows the schema that a route names."""
    return f"schemas/{file}"


@cache
def validator(name: str) -> Validator:
    """Compile a schema of the package; raises SettingsError if it is none, or refers to what isn't in the package."""
    _check_references(name, _schemas()[name])
    # Asked for by name, so that what it refers to is looked for beside it.
    check: Validator = _Validator({"$ref": name}, format_checker=_formats(), registry=_registry())
    return check


def _unique_items(_check: Validator, is_wanted: object, array: object, _schema: object) -> Iterator[ValidationError]:
    """Find equal items by their hashes: the library compares each item with all others, for hours if they are many."""
    if is_wanted and isinstance(array, list) and len(set(map(_hashable, array))) < len(array):
        yield ValidationError("has equal items")


def _hashable(value: Any) -> Any:
    """Return what is equal for values that JSON Schema takes for equal: 1 and 1.0 are, 1 and true are not."""
    match value:
        case bool():
            return (bool, value)
        case dict():
            return frozenset((name, _hashable(member)) for name, member in value.items())
        case list():
            return tuple(map(_hashable, value))
        case _:
            return value


_Validator: Final[Any] = extend(Draft202012Validator, {"uniqueItems": _unique_items})  # type: ignore[no-untyped-call]


def first_problem(check: Validator, document: Any, root: str = "") -> str | None:
    """Say what is wrong with a document, by the field below `root`, without quoting values; None if nothing is.

    Only the first problem is looked for: an array of a million bad items has a million.
    """
    error = next(iter(check.iter_errors(document)), None)
    if error is None:
        return None
    path = [root] if root else []
    return f"{name_of([*path, *error.absolute_path, *_member(error)])}: {_rule(error)}"[:_DETAIL_CHARACTERS_MAX]


def _member(error: ValidationError) -> Iterator[str]:
    """Yield the member that an error is about, where the error lies with the object that has it or lacks it."""
    there: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    match error.validator:
        case "required":
            yield next(name for name in wanted if name not in there)
        case "additionalProperties" | "unevaluatedProperties" if wanted is False:
            yield next((name for name in there if name not in schema.get("properties", {})), "a member")
        case _ if "propertyNames" in error.absolute_schema_path:
            yield str(there)


def _rule(error: ValidationError) -> str:
    """Say which rule is broken. The validator's own message would quote the value, which may be personal."""
    own = error.schema.get("errorMessage") if isinstance(error.schema, dict) else None
    if isinstance(own, dict):
        own = own.get(error.validator)
    if isinstance(own, str):
        return own
    wanted = error.validator_value
    shown = " or ".join(map(str, wanted)) if isinstance(wanted, list) else json.dumps(wanted, default=str).strip('"')
    wording = _WORDINGS.get(str(error.validator), "breaks {rule} {wanted}")
    return wording.format(rule=error.validator, wanted=shown[:100])


def schema_digests() -> dict[str, str]:
    """Return the SHA-256 of every schema by its place, whatever its file's white space."""
    return {
        name: sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest() for name, schema in _schemas().items()
    }


@cache
def _schemas() -> Mapping[str, Any]:
    """Return every schema of the package by its place in it: small files, read once when a function starts."""
    home = files(_HOME)
    inner = {schema_name(file.name): file for file in (home / "schemas").iterdir() if file.name.endswith(".json")}
    outer = {name: home / name for name in (ENVELOPE, _ROUTES)}
    return {name: _read(file) for name, file in sorted((inner | outer).items())}


@cache
def _registry() -> Registry[Any]:
    """Return what a `$ref` may name: the package's schemas, each by its place in it. Nothing is ever fetched."""
    resources = (
        (name, Resource.from_contents(schema, default_specification=DRAFT202012)) for name, schema in _schemas().items()
    )
    for name, schema in _schemas().items():
        _check_schema(name, schema)
    empty: Registry[Any] = Registry()
    try:
        return empty.with_resources(resources).crawl()
    except Exception as error:  # the library takes much for granted
        raise SettingsError(
            f"the schemas can't be read together ({type(error).__name__}: {error}): is an $id or $anchor odd, or twice?"
        ) from error


def _check_schema(name: str, schema: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        said = error.message[:_DETAIL_CHARACTERS_MAX]
        raise SettingsError(f"{name} is no JSON Schema: {name_of(error.absolute_path)}: {said}") from error


def _check_references(name: str, schema: Any) -> None:
    resolver = _registry().resolver(base_uri=name)
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Exception as error:  # Unresolvable; others for what is no reference at all
            shown = reference[:_DETAIL_CHARACTERS_MAX]
            raise SettingsError(
                f'{name}: $ref "{shown}" leads nowhere: name a part of the file ("#/$defs/x") or a file beside it'
            ) from error


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


@cache
def _formats() -> FormatChecker:
    """Return the formats that are asserted: those that need no further library, so that every machine has the same."""
    checker = FormatChecker(formats=("date", "email", "ipv4", "ipv6", "uuid"))
    checker.checks("date-time")(_is_timestamp)
    return checker


def _is_timestamp(value: object) -> bool:
    if not isinstance(value, str):
        return True
    match = _TIMESTAMP.fullmatch(value)
    if match is None:
        return False
    day, minute, second = match.groups()
    try:
        datetime.fromisoformat(f"{day}T{minute}{'59' if second == '60' else second}")
    except ValueError:
        return False
    return True


def _read(file: Traversable) -> Any:
    try:
        return parse_json(file.read_bytes())
    except FileNotFoundError as error:
        raise SettingsError(f"{file.name} is missing: put it into src/{_HOME}") from error
    except ValueError as error:
        raise SettingsError(f"{file.name} is not JSON: {error}") from error

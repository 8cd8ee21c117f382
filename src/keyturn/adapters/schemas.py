"""The routes file and the JSON Schemas of this deployment, read once a process from the package `keyturn_routes`."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from referencing import Registry

from keyturn.core.route import Routes, parse_routes
from keyturn.errors import SettingsError

_HOME = "keyturn_routes"
_DETAIL_CHARACTERS_MAX = 200

_NO_REMOTE: Registry[Any] = Registry()
"""A schema may refer to its own parts only: nothing is ever fetched."""


@cache
def load_routes() -> Routes:
    """Read and check this deployment's routes; raises SettingsError naming the entry and the field that is wrong."""
    document = _read("routes.json")
    problem = first_problem(validator("routes.schema.json"), document)
    if problem:
        raise SettingsError(f"routes.json: {problem}")
    routes = parse_routes(document)
    for route in routes.routes:
        if route.schema is not None:
            validator(f"schemas/{route.schema}")
    return routes


@cache
def validator(name: str) -> Validator:
    """Compile a schema of the package; raises SettingsError when there is none or it is no schema."""
    schema = _read(name)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SettingsError(f"{name} is no JSON Schema: {error.json_path}: {error.message}") from error
    return Draft202012Validator(schema, format_checker=FormatChecker(), registry=_NO_REMOTE)


def first_problem(check: Validator, document: Any, root: str = "$") -> str | None:
    """Describe what is wrong with a document, by the field, without quoting its values; None when nothing is."""
    errors: Iterator[ValidationError] = check.iter_errors(document)
    error = min(errors, key=lambda found: [str(part) for part in found.absolute_path], default=None)
    if error is None:
        return None
    field = root + error.json_path.removeprefix("$")
    return f"{field}: {_rule(error)}"[:_DETAIL_CHARACTERS_MAX]


def _rule(error: ValidationError) -> str:
    """Say which rule is broken. The validator's own message would quote the value, which may be personal."""
    match error.validator:
        case "required":
            wanted: Any = error.validator_value
            there: Any = error.instance
            return f"{', '.join(name for name in wanted if name not in there)} is missing"
        case "type":
            return f"must be of type {error.validator_value}"
        case "additionalProperties":
            return "has a member that the schema doesn't know"
        case _:
            return f"breaks {error.validator} {json.dumps(error.validator_value, default=str)[:80]}"


def _read(name: str) -> Any:
    place = files(_HOME).joinpath(*name.split("/"))
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{name} is missing: put it beside routes.json in src/{_HOME}") from error
    except ValueError as error:
        raise SettingsError(f"{name} is not JSON: {error}") from error

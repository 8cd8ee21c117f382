"""What this deployment is, told to whoever may invoke the operator function, so that it can be compared."""

from dataclasses import asdict
from typing import Any

from keyturn.adapters.schemas import schema_digests
from keyturn.core.route import Routes
from keyturn.shell.platform import Platform


def describe(platform: Platform) -> dict[str, Any]:
    """Tell routes, schemas and settings."""
    return described(platform.routes) | {"settings": asdict(platform.settings)}


def described(routes: Routes) -> dict[str, Any]:
    """Tell routes by their names, and the digests of the schemas that lie beside them."""
    return {"routes": {route.name: asdict(route) for route in routes.routes}, "schemas": schema_digests()}

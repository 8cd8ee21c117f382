"""What the template's roles let state machines do."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

INVOKE: Final = "lambda:InvokeFunction"
RUN_EXPRESS: Final = "states:StartSyncExecution"

Grant = tuple[str, str]
"""One of the two, and the resource of the template that it may be done to; with `:*` behind it, to its versions."""

_ATTACHED: Final = {"AWS::IAM::Policy", "AWS::IAM::RolePolicy"}
"""Resources that give a role rights without standing in it."""
_SUBSTITUTED: Final = re.compile(r"\$\{(\w+)(?:\.Arn)?\}(:\*)?")


def grants_in(resources: Mapping[str, Any]) -> Mapping[str, frozenset[Grant]]:
    """Grants of each role, but for roles that may have others than those that can be read here."""
    attached = str([entry for entry in resources.values() if entry["Type"] in _ATTACHED])
    roles = {
        name: _granted(entry["Properties"], resources)
        for name, entry in resources.items()
        if entry["Type"] == "AWS::IAM::Role" and f"'{name}'" not in attached
    }
    return {name: grants for name, grants in roles.items() if grants is not None}


def _granted(role: Mapping[str, Any], resources: Mapping[str, Any]) -> frozenset[Grant] | None:
    managed = [policy for entry in role.get("ManagedPolicyArns", ()) for policy in _policies(entry)]
    if not resources.keys() >= set(managed):
        return None
    holders = [*role.get("Policies", ()), *(resources[policy]["Properties"] for policy in managed)]
    statements = [one for holder in holders for one in _as_list(holder["PolicyDocument"]["Statement"])]
    grants = {grant for statement in statements for grant in _grants(statement)}
    return None if any(resource is None for _, resource in grants) else frozenset(grants)  # type: ignore[arg-type]


def _grants(statement: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield what a statement says of the two actions; None for a resource that is told in another way."""
    for action in (INVOKE, RUN_EXPRESS):
        if any(fnmatchcase(action, granted) for granted in _as_list(statement.get("Action", ()))):
            yield from ((action, _named(resource)) for resource in _as_list(statement.get("Resource", "*")))


def _policies(entry: Any) -> Iterator[str]:
    """Yield the policies that an entry names; one of another template has no name here."""
    match entry:
        case {"Ref": "AWS::NoValue"}:
            return
        case {"Ref": str(policy)}:
            yield policy
        case {"Fn::If": [_, *branches]}:
            for branch in branches:
                yield from _policies(branch)
        case _:
            yield ""


def _named(resource: Any) -> str | None:
    match resource:
        case {"Fn::GetAtt": [str(name), "Arn"]} | {"Ref": str(name)}:
            return name
        case {"Fn::Sub": str(text)} if found := _SUBSTITUTED.fullmatch(text):
            return found[1] + (found[2] or "")
        case _:
            return None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]

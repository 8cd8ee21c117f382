"""IAM's decision, as far as this template's policies go: does a function's role allow a call?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.guard.calls import Need
from tests.template.stack import Template, as_list, resources, statements

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
_ARNS: Final = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/",
    "AWS::Kinesis::Stream": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:",
}


@dataclass(frozen=True)
class Grant:
    """One action on one resource that somebody may take."""

    holder: str
    """Logical id of the role or managed policy that grants it."""
    action: str
    resource: str
    """As in the template, with physical names; `*` stands for anything."""

    def allows(self, action: str, arn: str) -> bool:
        """Tell whether a call falls under it."""
        pattern = ".*".join(map(re.escape, self.resource.split("*")))
        return action == self.action and re.fullmatch(pattern, arn, re.DOTALL) is not None


@dataclass(frozen=True)
class Policies:
    """The policies of a transformed template, deployed as `stack` with these names."""

    template: Template
    stack: str
    names: Mapping[str, str]
    """Logical id -> physical name; what isn't named is called by its logical id."""

    def roles(self) -> dict[str, str]:
        """Function's name -> logical id of its role."""
        return {
            self._text(function["Properties"]["FunctionName"]): function["Properties"]["Role"]["Fn::GetAtt"][0]
            for function in resources(self.template, "AWS::Lambda::Function").values()
        }

    def grants_of(self, role: str) -> list[Grant]:
        """What a role may do, by its own statements and by the managed policies of this template."""
        managed = self.template["Resources"][role]["Properties"].get("ManagedPolicyArns", [])
        holders = {role, *(name for arn in managed for name in _references(arn))}
        return [grant for grant in self.grants() if grant.holder in holders]

    def grants(self) -> Iterator[Grant]:
        """Everything that anybody is granted. The evaluator knows no Deny and no Condition: neither may be there."""
        for holder, statement in statements(self.template):
            assert statement["Effect"] == "Allow", f"{holder}: teach tests/template/policies.py about Deny"
            assert "Condition" not in statement, f"{holder}: teach tests/template/policies.py about conditions"
            for action in as_list(statement["Action"]):
                for resource in as_list(statement["Resource"]):
                    yield Grant(holder, action, self._text(resource))

    def arn(self, resource: str) -> str:
        """The ARN of a resource as `tests.guard.calls` names it."""
        kind, _, name = resource.partition("/")
        match kind:
            case "table":
                return _ARNS["AWS::DynamoDB::Table"] + name
            case "stream":
                return _ARNS["AWS::Kinesis::Stream"] + (self.names.get("Stream", "Stream") if name == "*" else name)
            case "queue":
                return _ARNS["AWS::SQS::Queue"] + name.rpartition("/")[2]
            case "object" | "bucket":
                return f"arn:aws:s3:::{name}"
            case _:
                return re.sub(r":[a-z0-9-]*:\d{12}:", f":{REGION}:{ACCOUNT}:", resource, count=1)

    def granting(self, role: str, need: Need) -> list[Grant]:
        """The grants of a role under which a call falls; none if it would be refused."""
        action, resource = need
        return [grant for grant in self.grants_of(role) if grant.allows(action, self.arn(resource))]

    def refused(self, calls: Iterable[str]) -> list[str]:
        """Return those of the lines `FUNCTION ACTION RESOURCE` that no grant of the function's role allows."""
        roles = self.roles()
        found = [line.split(" ", 2) for line in sorted(set(calls))]
        return [
            " ".join(one) for one in found if one[0] not in roles or not self.granting(roles[one[0]], (one[1], one[2]))
        ]

    def _text(self, value: Any) -> str:
        match value:
            case str():
                return value
            case {"Ref": name}:
                return self._name(name)
            case {"Fn::GetAtt": [name, "Arn"]}:
                return self._arn_of(name)
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{([^}]+)\}", lambda found: self._substituted(found[1]), text)
            case _:
                raise AssertionError(f"teach tests/template/policies.py about {value}")

    def _substituted(self, name: str) -> str:
        return self._arn_of(name.removesuffix(".Arn")) if name.endswith(".Arn") else self._name(name)

    def _arn_of(self, name: str) -> str:
        return _ARNS[self.template["Resources"][name]["Type"]] + self._name(name)

    def _name(self, name: str) -> str:
        pseudo = {
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::AccountId": ACCOUNT,
            "AWS::StackName": self.stack,
        }
        return pseudo.get(name) or self.names.get(name, name)


def _references(value: Any) -> Iterator[str]:
    """Logical ids that are named anywhere in a value."""
    if isinstance(value, dict):
        if "Ref" in value:
            yield value["Ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)

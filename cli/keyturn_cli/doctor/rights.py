"""The roles: what each may do is what was deployed, no more; and that is enough for its function's calls.

What they should grant is read from the deployed template, so there is no second list to keep. The simulator then
answers for what a role's own policies don't show: permission boundaries and the account's service control policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from keyturn_cli.doctor.examination import POLICY, ROLE, Examination, Resource
from keyturn_cli.doctor.finding import Finding, failed, listed, not_checked, ok

_DEPLOY: Final = "nobody should edit a role by hand: deploy the stack again (sam deploy)"

NEEDED: Final[Mapping[str, Sequence[str]]] = {
    "DispatcherFunction": ("dynamodb:BatchWriteItem", "dynamodb:PutItem", "dynamodb:Query"),
    "SequencerFunction": ("dynamodb:PutItem", "dynamodb:Query"),
    "WatchdogFunction": ("dynamodb:PutItem", "dynamodb:Query"),
    "OperatorFunction": ("dynamodb:PutItem", "dynamodb:Query"),
    "CanaryFunction": ("dynamodb:BatchGetItem", "dynamodb:PutItem"),
}
"""Calls on the state table that a function can't do without."""

FORBIDDEN: Final = ("dynamodb:DeleteTable", "dynamodb:UpdateTable", "dynamodb:CreateBackup")
"""Calls on the state table that no function may make."""


def check_rights(examined: Examination) -> Iterator[Finding]:
    """Policies as deployed; then what they come to."""
    yield _as_deployed(examined)
    if examined.target.is_local:
        yield not_checked("rights in effect", "this engine doesn't enforce IAM")
    else:
        yield simulated(examined)


def _as_deployed(examined: Examination) -> Finding:
    name = "roles as deployed"
    wrong = [
        *(trouble for role in examined.of_kind(ROLE) for trouble in _of_role(examined, role)),
        *(trouble for policy in examined.of_kind(POLICY) for trouble in _of_policy(examined, policy)),
    ]
    if wrong:
        return failed(name, listed(wrong), _DEPLOY)
    return ok(name, f"{len(examined.of_kind(ROLE))} roles grant what the deployed template says")


def _of_role(examined: Examination, role: Resource) -> Iterator[str]:
    aws = examined.client("iam")
    properties = examined.template[role.logical_id]["Properties"]
    granted = set().union(
        *(
            actions(aws.get_role_policy(RoleName=role.id, PolicyName=name)["PolicyDocument"])
            for name in aws.list_role_policies(RoleName=role.id)["PolicyNames"]
        )
    )
    wanted = set().union(*(actions(policy["PolicyDocument"]) for policy in properties.get("Policies", [])))
    yield from _differences(role.logical_id, wanted, granted)
    attached = {
        str(policy["PolicyArn"]).rpartition("/")[2]
        for policy in aws.list_attached_role_policies(RoleName=role.id)["AttachedPolicies"]
    }
    yield from _differences(role.logical_id, set(_managed(examined, properties)), attached)


def _of_policy(examined: Examination, policy: Resource) -> Iterator[str]:
    aws = examined.client("iam")
    version = aws.get_policy(PolicyArn=policy.id)["Policy"]["DefaultVersionId"]
    document = aws.get_policy_version(PolicyArn=policy.id, VersionId=version)["PolicyVersion"]["Document"]
    wanted = actions(examined.template[policy.logical_id]["Properties"]["PolicyDocument"])
    yield from _differences(policy.logical_id, wanted, actions(document))


def _managed(examined: Examination, properties: Mapping[str, Any]) -> Iterator[str]:
    """The names of the managed policies that a role of the template takes."""
    for entry in properties.get("ManagedPolicyArns", []):
        match entry:
            case {"Fn::If": [_, chosen, _]}:
                reference = chosen.get("Ref", "")
                if reference in examined.resources:
                    yield examined.resources[reference].id.rpartition("/")[2]
            case {"Fn::Sub": str(text)}:
                yield text.rpartition("/")[2]
            case {"Ref": reference}:
                yield examined.resource(reference).id.rpartition("/")[2]
            case str():
                yield entry.rpartition("/")[2]


def actions(document: Mapping[str, Any]) -> set[str]:
    """Collect what a policy allows; conditions, resources and denials are left aside."""
    statements = document["Statement"]
    return {
        action
        for statement in (statements if isinstance(statements, list) else [statements])
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def _differences(name: str, wanted: set[str], granted: set[str]) -> Iterator[str]:
    if granted - wanted:
        yield f"{name} grants {listed(granted - wanted)} besides"
    if wanted - granted:
        yield f"{name} lacks {listed(wanted - granted)}"


def simulated(examined: Examination) -> Finding:
    """Ask IAM what the functions may do on the state table."""
    name = "rights in effect"
    table = examined.client("dynamodb").describe_table(TableName=examined.target.outputs.state_table_name)
    wrong: list[str] = []
    for logical_id, needed in NEEDED.items():
        if logical_id in examined.functions:
            allowed = _allowed(examined, logical_id, [*needed, *FORBIDDEN], table["Table"]["TableArn"])
            wrong += [f"{logical_id} may not {action}" for action in needed if action not in allowed]
            wrong += [f"{logical_id} may {action}" for action in FORBIDDEN if action in allowed]
    if wrong:
        return failed(name, listed(wrong), "look for permission boundaries and service control policies; else deploy")
    return ok(name, f"{len(NEEDED)} functions may make their calls on the state table, and no administrator's")


def _allowed(examined: Examination, logical_id: str, asked: Sequence[str], resource_arn: str) -> set[str]:
    answer = examined.client("iam").simulate_principal_policy(
        PolicySourceArn=examined.functions[logical_id]["Role"], ActionNames=list(asked), ResourceArns=[resource_arn]
    )
    return {result["EvalActionName"] for result in answer["EvaluationResults"] if result["EvalDecision"] == "allowed"}

"""The template as CloudFormation gets it after SAM's transform, for one set of parameters."""

import copy
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT: Final = Path(__file__).resolve().parents[2]
KEY_ARN: Final = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
BASIC_EXECUTION: Final = "service-role/AWSLambdaBasicExecutionRole"

Template = Mapping[str, Any]


@cache
def source() -> Template:
    """template.yaml, short functions written out."""
    template: Template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    return template


def transformed(parameters: Mapping[str, str] | None = None) -> Template:
    """What SAM makes of the template when it is deployed with these parameters."""
    template = copy.deepcopy(dict(source()))
    template["Transform"] = "AWS::Serverless-2016-10-31"  # SAM knows nothing of the extensions, which come before it
    for name, value in (parameters or {}).items():
        template["Parameters"][name]["Default"] = value
    for resource in template["Resources"].values():
        _upload(resource["Properties"])
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": "us-east-1"}):
        result: Template = transform(template, {}, SimpleNamespace(load=dict))
    return json.loads(json.dumps(result))  # type: ignore[no-any-return]


def _upload(properties: dict[str, Any]) -> None:
    """What `sam deploy` does with local paths."""
    for field in ("CodeUri", "ContentUri"):
        if isinstance(properties.get(field), str):
            properties[field] = "s3://bucket/artifact"
    if isinstance(properties.get("DefinitionS3Location"), str):
        properties["DefinitionS3Location"] = {"Bucket": "bucket", "Key": "artifact"}


def resources(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Logical id -> resource, for one type."""
    return {name: resource for name, resource in template["Resources"].items() if resource["Type"] == kind}


def statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every role and managed policy, with the logical id that holds it."""
    for name, role in resources(template, "AWS::IAM::Role").items():
        for policy in role["Properties"].get("Policies", []):
            yield from ((name, statement) for statement in policy["PolicyDocument"]["Statement"])
    for name, policy in resources(template, "AWS::IAM::ManagedPolicy").items():
        yield from ((name, statement) for statement in policy["Properties"]["PolicyDocument"]["Statement"])


def as_list(value: Any) -> list[Any]:
    """IAM writes a list of one without brackets."""
    return value if isinstance(value, list) else [value]


def default(parameter: str) -> int:
    """A number parameter's default."""
    return int(source()["Parameters"][parameter]["Default"])

"""Asks the stack's operator function to change something, in the name of whoever calls."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from getpass import getuser
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_cli.errors import Refused
from keyturn_cli.target import Target

_ANSWER_S: Final = 65
"""A little longer than the function's own timeout."""


def operate(target: Target, command: str, reason: str, **subject: Any) -> Mapping[str, Any]:
    """Have a command carried out; return what stands afterwards. Raises Refused, with the stack's own words."""
    request = {"command": command, "by": who(target), "reason": reason, **subject}
    answer = target.patient_client("lambda", _ANSWER_S).invoke(
        FunctionName=target.outputs.operator_function_name, Payload=json.dumps(request).encode()
    )
    content = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        told = content.get("errorMessage") if isinstance(content, dict) else content
        raise Refused(f"{command} failed in the stack: {told}. It may have been done: look before you repeat it")
    if "refused" in content:
        raise Refused(content["refused"])
    done: Mapping[str, Any] = content
    return done


def who(target: Target) -> str:
    """Whoever calls, as AWS knows them; the local user on a local engine."""
    if target.is_local:
        return os.environ.get("USER") or getuser()
    try:
        return str(target.client("sts").get_caller_identity()["Arn"])
    except (ClientError, BotoCoreError):
        return "unknown"  # the invocation itself says what is wrong with the credentials

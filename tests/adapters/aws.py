"""The state table on moto, and clients that answer as AWS does and moto doesn't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError, ReadTimeoutError

from keyturn.adapters.process import Process
from keyturn.adapters.table import Table

UNHURRIED = Process(sleep=lambda _seconds: None)
"""A process that never waits."""


def create_state_table(dynamodb: Any) -> str:
    """Create a table as the template describes it; return its name."""
    name = f"state-{uuid4()}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "due_bucket", "AttributeType": "S"},
            {"AttributeName": "due_at", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "due_bucket", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


class Edited:
    """A client whose named methods a test answers for; the rest goes to the real one. Counts calls by name."""

    def __init__(self, inner: Any, **answers: Callable[..., Any]) -> None:
        """Each answer gets the real method and the call's arguments."""
        self.inner, self.answers = inner, answers
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method."""
        real = getattr(self.inner, name)

        def call(**arguments: Any) -> Any:
            self.calls.append(name)
            answer = self.answers.get(name)
            return answer(real, **arguments) if answer else real(**arguments)

        return call


def refused(code: str, status: int = 400, message: str = "no") -> Callable[..., Any]:
    """Answer with an error."""

    def answer(_real: Any, **_arguments: Any) -> Any:
        response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(response, "Call")

    return answer


def silent(_real: Any, **_arguments: Any) -> Any:
    """Never answer."""
    raise ReadTimeoutError(endpoint_url="aws")


def sent_twice(real: Any, **arguments: Any) -> Any:
    """Do as the SDK does when the first answer is lost: send the same write again."""
    real(**arguments)
    try:
        return real(**arguments)
    except ClientError as error:
        response: Any = error.response
        response.setdefault("ResponseMetadata", {})["RetryAttempts"] = 1
        raise


def edited(table: Table, **answers: Callable[..., Any]) -> Table:
    """Return the table with some of its client's methods answered for, and no waiting."""
    return Table(Edited(table.client, **answers), table.name, UNHURRIED)

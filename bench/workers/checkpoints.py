"""Results of steps in DynamoDB: what any app has to keep that goes on after a crash where it stood.

As few calls as can be: one before a step, one behind it. Nothing is fenced, and nothing is ordered.
"""

import os

import boto3

TABLE = os.environ["CHECKPOINT_TABLE"]
table = boto3.client("dynamodb")


def is_done(step: str, key: str, number: int) -> bool:
    """Look whether a step of an event was done before."""
    return "Item" in table.get_item(TableName=TABLE, Key=_place(step, key, number), ConsistentRead=True)


def note(step: str, key: str, number: int) -> None:
    """Store that it was done."""
    table.put_item(TableName=TABLE, Item={**_place(step, key, number), "result": {"BOOL": True}})


def _place(step: str, key: str, number: int) -> dict[str, dict[str, str]]:
    return {"pk": {"S": key}, "sk": {"S": f"{number:09}#{step}"}}

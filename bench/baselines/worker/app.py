"""Worker of the baselines: the effect that Keyturn's sample workers have, in the same ledger layout.

Every effect takes the next number of its key first, so that the numbers tell the true order, whatever a clock said.
"""

import os
import time
from typing import Any

import boto3
from botocore.exceptions import ClientError

ledger = boto3.client("dynamodb")
TABLE = os.environ["LEDGER_TABLE"]
STEP = os.environ["STEP"]


def handler(request: dict[str, Any], _context: Any) -> dict[str, int]:
    """Do the step's effect once, and return its number within the key."""
    began_at_ms = _now_ms()
    key, event = request["key"], request["event"]
    counted = ledger.update_item(
        TableName=TABLE,
        Key={"pk": {"S": key}, "sk": {"S": "sequence"}},
        UpdateExpression="ADD n :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues="ALL_NEW",
    )
    number = counted["Attributes"]["n"]["N"]
    item = {
        "pk": {"S": key},
        "sk": {"S": f"effect#{request['position']}#{STEP}"},
        "sequence": {"N": number},
        "step": {"S": STEP},
        "event_id": {"S": event["id"]},
        "ordinal": {"N": str(event["data"]["sequence"])},
        "position": {"S": request["position"]},
        "began_at_ms": {"N": str(began_at_ms)},
        "ended_at_ms": {"N": str(_now_ms())},
    }
    try:
        ledger.put_item(TableName=TABLE, Item=item, ConditionExpression="attribute_not_exists(pk)")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
    return {"ledger": int(number)}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

"""Dispatcher of the naive apps that wait: an Express execution for each record, some at once.

With ORDER=none all records go side by side. With ORDER=key a key's go one after another: the event source hands its
records over in order, so nothing else is needed, but whatever fails or takes long holds up its whole shard.

Fire and forget (StartExecution) would start a whole backlog's executions at the same moment, which the account's Lambda
concurrency, or a small machine, answers with throttling.
"""

import base64
import json
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

AT_ONCE = int(os.environ["RUNS_AT_ONCE"])
WORKFLOW = os.environ["WORKFLOW_ARN"]
LANE = {"none": "sequenceNumber", "key": "partitionKey"}[os.environ["ORDER"]]
# StartSyncExecution goes to sync-states... on AWS; an endpoint of one's own has no such name
config = Config(max_pool_connections=AT_ONCE, inject_host_prefix="AWS_ENDPOINT_URL" not in os.environ)
states = boto3.client("stepfunctions", config=config)


def handler(batch: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Run the records; answer with the first of each lane that failed. A redelivery repeats no effect."""
    lanes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in batch["Records"]:
        lanes[record["kinesis"][LANE]].append(record["kinesis"])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = [number for number in pool.map(_run, lanes.values()) if number]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


def _run(records: list[dict[str, Any]]) -> str | None:
    for kinesis in records:
        run = {
            "key": kinesis["partitionKey"],
            "position": kinesis["sequenceNumber"],
            "event": json.loads(base64.b64decode(kinesis["data"])),
        }
        ended = states.start_sync_execution(stateMachineArn=WORKFLOW, input=json.dumps(run))
        if ended["status"] != "SUCCEEDED":
            return str(kinesis["sequenceNumber"])
    return None

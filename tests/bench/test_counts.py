"""Counted units come from the product's meter and its price list."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from io import StringIO
from types import SimpleNamespace

import boto3
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError
from keyturn_cli.cost.metered import Function, Metered
from moto import mock_aws

from bench.contenders import PARAMETERS
from bench.counts import COUNTING, usage, whole_events
from bench.ground import BASELINES
from bench.workload import STEPS, Workload
from keyturn.adapters import telemetry
from keyturn.adapters.price_list import REFERENCE_REGION, load_prices
from keyturn.adapters.usage import usage as own_usage
from keyturn.core.prices import MILLION

WORKLOAD = Workload("hot", 100, 1)
PRICES = load_prices(REFERENCE_REGION)
DISPATCHER = {
    "counted Records": 100.0,
    "write locks other": 300.0,
    "calls stepfunctions.StartSyncExecution:naive-order-express": 100.0,
}


def _metered(used: dict[str, float], *others: Function) -> Metered:
    return Metered((Function("dispatcher", 512, 2, used, 50), *others), "locks", since_ms=0, until_ms=1_000)


def _workers(invocations: int) -> list[Function]:
    return [Function(step, 256, invocations, {"write ledger other": 2.0 * invocations}, 0) for step in STEPS]


def test_an_events_usage_is_what_the_meter_counted() -> None:
    """Without the workers' own effects; priced for what is counted, and for nothing that is modelled."""
    found = usage("naive", WORKLOAD, _metered(DISPATCHER, *_workers(100)))
    assert (found.write_units, found.read_units, found.express_starts) == (3.0, 0.0, 1.0)
    assert (found.invocations, found.log_bytes) == (3.02, 0.5)
    logs = 0.5 * PRICES.logs_gb_in / 1_024**3
    each = 3 * PRICES.dynamodb_write_unit + PRICES.express_start + 3.02 * PRICES.lambda_request + logs
    assert found.dollars_per_million == pytest.approx(each * MILLION)


def test_writes_of_the_workflow_itself_are_added_and_priced() -> None:
    """No function makes them, so no meter sees them."""
    without = usage("naive", WORKLOAD, _metered(DISPATCHER))
    found = usage("naive", WORKLOAD, _metered(DISPATCHER), workflow_writes=1.0)
    assert found.write_units == without.write_units + 1
    more = found.dollars_per_million - without.dollars_per_million
    assert more == pytest.approx(PRICES.dynamodb_write_unit * MILLION)


def test_a_run_is_whole_when_the_slowest_worker_told() -> None:
    """Of a baseline; in Keyturn, when the sequencer told that all events are finished."""
    assert whole_events(_metered(DISPATCHER)) == 0
    assert whole_events(_metered(DISPATCHER, *_workers(100)[1:], Function(STEPS[0], 256, 99, {}, 0))) == 99
    sequencer = Function("sequencer", 256, 10, {"counted Finished": 80.0}, 0)
    assert whole_events(_metered(DISPATCHER, *_workers(10), sequencer)) == 80
    assert whole_events(_metered({}, *_workers(100))) == 0


def test_a_metered_baseline_tells_its_usage_as_keyturns_functions_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same meter, around the handler that it has anyway."""
    for name, value in {
        "METERING": "on",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RUNS_AT_ONCE": "2",
        "WORKFLOW_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:naive-order-express",
        "LOCK_TABLE": "locks",
    }.items():
        monkeypatch.setenv(name, value)
    for folder in (COUNTING, BASELINES / "naive_ordered"):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(boto3, "client", boto3.client)
    out = StringIO()
    monkeypatch.setattr(telemetry, "logger", lambda: Logger(service="naive", stream=out))
    own_usage.cache_clear()
    try:
        with mock_aws():
            _run_a_batch()
    finally:
        own_usage.cache_clear()
        for name in ("metered", "app"):
            sys.modules.pop(name, None)
    (used,) = (line["used"] for line in map(json.loads, out.getvalue().splitlines()) if line["message"] == "usage")
    assert used["counted Records"] == 1
    assert used["write locks other"] > 0
    assert used["calls stepfunctions.StartExecution:naive-order-express"] == 1


def _run_a_batch() -> None:
    """Run the naive ordered dispatcher on a record whose workflow isn't there: its call counts all the same."""
    boto3.client("dynamodb").create_table(
        TableName="locks",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    handler = import_module("metered").handler
    record = {"partitionKey": "k", "sequenceNumber": "1", "data": "e30="}
    context = SimpleNamespace(aws_request_id="1", get_remaining_time_in_millis=lambda: 60_000)
    with pytest.raises(ClientError, match="StateMachineDoesNotExist"):
        handler({"Records": [{"eventID": "shard:1", "kinesis": record}]}, context)


def test_baselines_gather_records_as_long_as_keyturn_does() -> None:
    """A window that only one of them has would be its whole disadvantage, or advantage, in a short run."""
    wanted = f"MaximumBatchingWindowInSeconds: {PARAMETERS['BatchingWindowSeconds']}\n"
    for template in BASELINES.glob("*/template.yaml"):
        assert wanted in template.read_text(encoding="utf-8")


def test_baselines_leave_their_stream_to_the_bench() -> None:
    """A parameter's text "false" would be true to the engine, which would read the stream beside the bench."""
    for template in BASELINES.glob("*/template.yaml"):
        assert "Enabled: !If [ReadsStream, true, false]" in template.read_text(encoding="utf-8")

"""Reads the platform's own metrics back from the log groups they are written to (CloudWatch's embedded format)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from keyturn_cli.target import Target


def read_metrics(target: Target, since_ms: int) -> Mapping[str, list[float]]:
    """Every value of every metric that dispatcher, sequencer and watchdog wrote since a time, by the metric's name."""
    outputs = target.outputs
    functions = (outputs.dispatcher_function_name, outputs.sequencer_function_name, outputs.watchdog_function_name)
    logs = target.client("logs")
    values: dict[str, list[float]] = defaultdict(list)
    for function in functions:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{function}", startTime=since_ms, filterPattern='"CloudWatchMetrics"'
        )
        for page in pages:
            for found in page["events"]:
                for name, value in _metrics(found["message"]):
                    values[name] += value
    return values


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all doesn't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _metrics(message: str) -> list[tuple[str, list[float]]]:
    try:
        content = json.loads(message)
        declared = content["_aws"]["CloudWatchMetrics"]
    except (ValueError, KeyError, TypeError):
        return []
    names = [metric["Name"] for group in declared for metric in group["Metrics"]]
    return [(name, _values(content[name])) for name in names if name in content]


def _values(value: Any) -> list[float]:
    return [float(one) for one in value] if isinstance(value, list) else [float(value)]

"""AWS's hard limits that the design leans on, and ours derived from them. Bytes are of UTF-8."""

from typing import Final

EXECUTION_INPUT_BYTES_MAX: Final = 262_144
"""Step Functions quota on the input or output of a task, state or execution, Standard and Express. Hard.
Source: AWS Step Functions Developer Guide, "Service quotas"."""

ITEM_BYTES_MAX: Final = 409_600
"""DynamoDB's item size with attribute names. Source: DynamoDB Developer Guide, "Service, account, and table quotas"."""

BATCH_WRITE_ITEMS_MAX: Final = 25
BATCH_GET_ITEMS_MAX: Final = 100
"""Items of one BatchWriteItem and keys of one BatchGetItem call. Source: their API references."""

MESSAGE_DELAY_S_MAX: Final = 900
"""SQS DelaySeconds. Source: SendMessage API reference."""

LAMBDA_S_MAX: Final = 900
"""Longest time of a Lambda function. Hard. Source: AWS Lambda Developer Guide, "Lambda quotas"."""

EXPRESS_EXECUTION_S_MAX: Final = 300
"""Longest life of an Express execution. Hard. Source: AWS Step Functions Developer Guide, "Service quotas"."""

EXPRESS_RUN_S_MAX: Final = EXPRESS_EXECUTION_S_MAX + 60
"""Longest deadline of a run that an Express execution does: it may start late, and must have ended by then."""

RUN_INLINE_BYTES_MAX: Final = 180_000
"""Events that one run carries inside its execution input; leaves room for the envelope and the step answers."""

HANDED_OVER_BYTES_MAX: Final = 200_000
"""A run's whole input that an execution goes on with; a larger one is started by itself. Leaves as much room for the
step answers."""

EVENT_INLINE_BYTES_MAX: Final = 100_000
"""A larger event goes to the payload bucket, and its log item keeps a reference."""

STEP_RESULT_BYTES_MAX: Final = 4_096
"""One step's result for one event: it rides in the execution's state and in an item."""

RUN_EVENTS_MAX: Final = 90
"""Events of one run, by `routes.schema.json`: what ends a run fits one transaction."""

_STEP_RESULT_OVERHEAD_BYTES: Final = 200
"""What an item with a run's results says of one besides: position, times, commas."""

QUARANTINE_INLINE_BYTES_MAX: Final = 200_000
"""A larger rejected record's bytes go to the payload bucket."""

SUBSEQUENCE_MAX: Final = 999_999

assert RUN_INLINE_BYTES_MAX < EXECUTION_INPUT_BYTES_MAX  # noqa: S101
assert RUN_INLINE_BYTES_MAX < HANDED_OVER_BYTES_MAX < EXECUTION_INPUT_BYTES_MAX  # noqa: S101
assert EVENT_INLINE_BYTES_MAX <= RUN_INLINE_BYTES_MAX  # noqa: S101
assert EVENT_INLINE_BYTES_MAX < ITEM_BYTES_MAX  # noqa: S101
assert QUARANTINE_INLINE_BYTES_MAX < ITEM_BYTES_MAX  # noqa: S101
assert RUN_EVENTS_MAX * (STEP_RESULT_BYTES_MAX + _STEP_RESULT_OVERHEAD_BYTES) < ITEM_BYTES_MAX - 10_000  # noqa: S101

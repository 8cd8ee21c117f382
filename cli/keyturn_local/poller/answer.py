"""What a function's answer means for its batch, as AWS reads it.

Source: Lambda developer guide, "Configuring partial batch response" for Kinesis: an empty or null list of failures,
and an empty or null answer, mean that all succeeded; an empty or null identifier, or one under a wrong key, that all
failed; otherwise everything from the lowest reported sequence number on comes again.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AllDone:
    """The whole batch succeeded."""


@dataclass(frozen=True, slots=True)
class FailedFrom:
    """Everything below `sequence` succeeded; it and all after it come again."""

    sequence: int


@dataclass(frozen=True, slots=True)
class AllFailed:
    """The whole batch failed. `error` is for the log; `function_error` is Lambda's (Unhandled), if it was one."""

    error: str
    function_error: str | None = None


Answer = AllDone | FailedFrom | AllFailed


def read_answer(body: bytes, sequences: Collection[int], *, report_item_failures: bool) -> Answer:
    """Read the answer of an invocation that ended without a function error.

    An identifier that isn't in the batch is undocumented; recorded from AWS: the batch fails. An answer that isn't
    JSON, or whose list is no list, is undocumented too: failing is the reading that can't lose a record.
    """
    if not report_item_failures or not body.strip():
        return AllDone()
    try:
        answer = json.loads(body)
    except ValueError:
        return AllFailed("the answer is not JSON")
    if answer and not isinstance(answer, dict):
        return AllFailed("the answer is not an object")
    failures = answer.get("batchItemFailures") if answer else None  # null, {}, "" and [] are empty answers
    if failures and not isinstance(failures, list):
        return AllFailed("batchItemFailures is not a list")
    return _lowest(failures, sequences) if failures else AllDone()


def _lowest(failures: list[object], sequences: Collection[int]) -> Answer:
    found = []
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        sequence = int(identifier) if isinstance(identifier, str) and identifier.isdecimal() else None
        if sequence is None or sequence not in sequences:
            return AllFailed(f"itemIdentifier {identifier!r} names no record of the batch")
        found.append(sequence)
    return FailedFrom(min(found))

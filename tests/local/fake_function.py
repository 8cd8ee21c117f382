"""A function under test: a Python callable behind as much of the Lambda API as the event source uses."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from tests.local.kit import FUNCTION_ARN


class Body:
    """A response's payload stream."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self) -> bytes:
        """All of it."""
        return self.content


@dataclass
class FakeFunction:
    """Stands for the Lambda API. `answer` gets the data of a batch's records and returns an answer, or raises."""

    answer: Callable[[list[dict[str, Any]]], object] = lambda _records: None
    batches: list[list[str]] = field(default_factory=list)
    taken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get_function_configuration(self, **_: object) -> dict[str, str]:
        """As much as the event source reads of it."""
        return {"Role": "arn:aws:iam::000000000000:role/dispatcher"}

    def invoke(self, **request: Any) -> dict[str, Any]:
        """An invocation: what the answer doesn't report as failed counts as taken."""
        assert request["FunctionName"] == FUNCTION_ARN
        records = [found["kinesis"] for found in json.loads(request["Payload"])["Records"]]
        numbers = [found["sequenceNumber"] for found in records]
        with self.lock:
            self.batches.append(numbers)
        try:
            answer = self.answer(records)
        except ValueError as error:
            text = json.dumps({"errorType": "ValueError", "errorMessage": str(error)})
            return {"FunctionError": "Unhandled", "Payload": Body(text.encode())}
        failed = [found["itemIdentifier"] for found in cast("Any", answer or {}).get("batchItemFailures", [])]
        lowest = min(map(int, failed), default=None)
        with self.lock:
            for found in records:
                if lowest is None or int(found["sequenceNumber"]) < lowest:
                    self.taken[found["partitionKey"]].append(found["sequenceNumber"])
        return {"Payload": Body(json.dumps(answer).encode())}

    @property
    def taken_count(self) -> int:
        """Records taken so far, doubles included."""
        with self.lock:
            return sum(map(len, self.taken.values()))

"""Puts records into the stream."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyturn.adapters.failures import translated


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream of one stack."""

    client_of: Callable[[str], Any]
    """Asked for Kinesis when a record is really put: nothing but an operator's command does."""
    name: str

    def put(self, key: str, data: bytes, after: str | None = None) -> str:
        """Put a record, behind the one numbered `after`; return its own number. Raises Throttled or StoreError."""
        order = {"SequenceNumberForOrdering": after} if after else {}
        with translated("putting a record into the stream"):
            answer = self.client_of("kinesis").put_record(StreamName=self.name, PartitionKey=key, Data=data, **order)
        return str(answer["SequenceNumber"])

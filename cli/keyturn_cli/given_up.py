"""Reads what an event source gave up: each object of the failure bucket holds a batch, as Lambda would have sent it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keyturn_cli.errors import BadInput
from keyturn_cli.records import Record, name_of, opened


class GivenUp:
    """Reads records from an object of the failure bucket, bytes and keys as they were in the stream."""

    def read(self, path: str) -> Iterator[Record]:
        """Yield its records in the batch's order. Raises BadInput when it is no such object."""
        with opened(path) as source:
            content = source.read()
        try:
            yield from [_record(wire, number) for number, wire in enumerate(records_in(content), start=1)]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__}: {error}"
            raise BadInput(
                f"{name_of(path)} holds no batch that was given up ({why}): take a whole object of the failure bucket"
            ) from error


def records_in(content: bytes) -> Sequence[Mapping[str, Any]]:
    """Return the records of an object of the failure bucket, as a Kinesis event source mapping hands them over.

    Its `payload` is that batch, as JSON or as a text that holds it. Raises ValueError, KeyError, TypeError or
    AttributeError when it is none.
    """
    payload = json.loads(content)["payload"]
    batch = json.loads(payload) if isinstance(payload, str) else payload
    records: Sequence[Mapping[str, Any]] = batch["Records"]
    return records


def _record(wire: Mapping[str, Any], number: int) -> Record:
    kinesis = wire["kinesis"]
    key: str = kinesis["partitionKey"]
    return Record(key, base64.b64decode(kinesis["data"], validate=True), number)

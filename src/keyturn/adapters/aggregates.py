"""Takes apart the records that the Kinesis Producer Library (KPL) packs into one.

Source: aggregation-format.md of awslabs/amazon-kinesis-producer: magic number, a protobuf message, its MD5 digest.
The message type is aws-kinesis-agg's. Its own loop is not used: at a record that it can't read it prints the data and
passes over the rest.
"""

import hashlib
import sys
from functools import cache
from importlib import import_module
from typing import Any, Final

MAGIC: Final = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES: Final = 16

RECORDS_MAX: Final = 10_000
"""In one aggregate; the library packs 1 MB at most, so more are records of next to nothing."""


class NotAnAggregate(ValueError):
    """The bytes begin like an aggregate and can't be taken apart as one."""


def take_apart(container: bytes) -> list[tuple[str, bytes]]:
    """Return (partition key, data) of the records in a container, in order; raises NotAnAggregate."""
    body, digest = container[len(MAGIC) : -_DIGEST_BYTES], container[-_DIGEST_BYTES:]
    if len(container) < len(MAGIC) + _DIGEST_BYTES or hashlib.md5(body, usedforsecurity=False).digest() != digest:
        raise NotAnAggregate("begins like a KPL aggregate, but its digest is wrong")
    try:
        return _parse(body)
    except NotAnAggregate:
        raise
    except Exception as error:
        raise NotAnAggregate(f"a KPL aggregate that can't be read ({type(error).__name__})") from error


def _parse(body: bytes) -> list[tuple[str, bytes]]:
    message: Any = _message_type()()
    message.ParseFromString(body)
    if not 1 <= len(message.records) <= RECORDS_MAX:
        raise NotAnAggregate(f"a KPL aggregate of {len(message.records)} records, not 1 to {RECORDS_MAX}")
    keys = list(message.partition_key_table)
    if not all(isinstance(key, str) for key in keys):  # protobuf hands a text that is no UTF-8 over as bytes
        raise UnicodeError("a partition key is no UTF-8")
    return [(keys[record.partition_key_index], bytes(record.data)) for record in message.records]


@cache
def _message_type() -> Any:
    """Load the aggregate's message type; protobuf is slow to load, and most streams never need it.

    The generated module imports its neighbour as `config_pb2`, as if its folder were on the path.
    """
    if "config_pb2" not in sys.modules:
        sys.modules["config_pb2"] = import_module("aws_kinesis_agg.config_pb2")
    return import_module("aws_kinesis_agg.messages_pb2").AggregatedRecord

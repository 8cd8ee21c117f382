"""Reads every event of the state table, where no index serves; says first how many items that are, and the cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import Progress

from keyturn.adapters.table import decode_item
from keyturn_cli.target import Target
from keyturn_cli.tracing.items import EVENT
from keyturn_cli.tracing.telling import Item

USD_PER_MILLION_READ_UNITS: Final = 0.125
"""On-demand, us-east-1, since 1 November 2024 (AWS Price List)."""
BYTES_PER_READ_UNIT: Final = 8_192
"""Eventually consistent: half a unit for each 4 KB (DynamoDB Developer Guide, "Read and write capacity")."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """How large a table is, as DynamoDB notes it every six hours or so."""

    items: int
    bytes: int

    @classmethod
    def of(cls, target: Target) -> Self:
        """The size of a stack's state table."""
        table = target.client("dynamodb").describe_table(TableName=target.outputs.state_table_name)["Table"]
        return cls(table["ItemCount"], table["TableSizeBytes"])

    @property
    def usd(self) -> float:
        """What reading all of it once costs."""
        return self.bytes / BYTES_PER_READ_UNIT / 1_000_000 * USD_PER_MILLION_READ_UNITS

    def __str__(self) -> str:
        cost = f"{self.usd:.2f} USD" if self.usd >= 0.01 else "less than a cent"
        return f"about {self.items:,} items, {self.bytes / 1e6:,.1f} MB, {cost}"


def scan_events(target: Target, size: TableSize) -> Iterator[Item]:
    """Yield every event of the table, with a progress bar on a terminal."""
    pages = (
        target.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=target.outputs.state_table_name,
            FilterExpression="begins_with(sk, :event)",
            ExpressionAttributeValues={":event": {"S": EVENT}},
        )
    )
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading the state table", total=max(1, size.items))
        for page in pages:
            yield from _events(page)
            progress.advance(task, page["ScannedCount"])


def _events(page: Any) -> Iterator[Item]:
    for raw in page["Items"]:
        yield decode_item(raw)

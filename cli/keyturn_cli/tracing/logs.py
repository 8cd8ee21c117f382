"""Reads what a stack's functions logged of an event, from CloudWatch Logs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import product
from typing import Any, Final, Self

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_cli.target import Target
from keyturn_cli.tracing.story import Line

_THREADS: Final = 4
"""FilterLogEvents takes five requests a second (CloudWatch Logs quotas); the client waits and asks again beyond."""
_PAGES_MAX: Final = 200
"""Of one function: a page is what a megabyte of its log holds."""
_DAY_MS: Final = 86_400_000

_OF_EVERY_LINE: Final = frozenset({"level", "location", "message", "timestamp", "service", "function_name"}) | {
    f"function_{name}" for name in ("memory_size", "arn", "request_id")
}


def _of_other_stacks(prefix: str, groups: Collection[str]) -> tuple[str, ...]:
    """Tell how log groups begin that are of stacks whose name begins as this one's, as "keyturn-production" does.

    Such a stack has all of the platform's functions.
    """
    ends = [f"-{function}" for function in ("dispatcher", "sequencer", "watchdog")]
    begins = {name.removesuffix(ends[0]) for name in groups if name.endswith(ends[0])} - {prefix.removesuffix("-")}
    return tuple(f"{begin}-" for begin in begins if all(begin + end in groups for end in ends))


@dataclass
class Logs:
    """The log groups of a stack's functions. What can't be read is told in `notes`, and is no error: the table
    tells the story too."""

    client: Any
    stack_name: str
    busy: Callable[[str], AbstractContextManager[Any]] = nullcontext
    """Shows on a terminal that something takes a while."""
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, target: Target, busy: Callable[[str], AbstractContextManager[Any]]) -> Self:
        """The logs of a deployed stack."""
        return cls(target.client("logs"), target.stack_name, busy)

    @cached_property
    def groups(self) -> Mapping[str, int | None]:
        """The log groups, with the days that they keep lines; None for ever."""
        prefix = f"/aws/lambda/{self.stack_name}-"
        pages = self.client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
        try:
            found = {
                group["logGroupName"]: group.get("retentionInDays") for page in pages for group in page["logGroups"]
            }
        except (ClientError, BotoCoreError) as error:
            self._note(f"some logs can't be read: {error}")
            return {}
        others = _of_other_stacks(prefix, found)
        return {name: days for name, days in found.items() if not name.startswith(others)}

    def keep_since_ms(self, now_ms: int) -> int:
        """Since when no group has dropped lines yet."""
        days = [days for days in self.groups.values() if days]
        return now_ms - min(days) * _DAY_MS if days else 0

    def lines(self, words: Iterable[str], since_ms: int, until_ms: int) -> list[Line]:
        """The lines of all functions that hold one of the words, each once, by time."""
        asked = list(product(self.groups, dict.fromkeys(words)))
        title = f"reading the logs of {len(self.groups)} functions"
        with self.busy(title), ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(lambda one: self._search(one[0], one[1], since_ms, until_ms), asked))
        unique = {event_id: line for part in found for event_id, line in part}
        return sorted(unique.values(), key=lambda line: line.at_ms)

    def _search(self, group: str, word: str, since_ms: int, until_ms: int) -> list[tuple[tuple[str, str], Line]]:
        pages = self.client.get_paginator("filter_log_events").paginate(
            logGroupName=group, filterPattern=f'"{word}"', startTime=since_ms, endTime=until_ms
        )
        found = []
        try:
            for number, page in enumerate(pages, start=1):
                found += [((group, event["message"]), line) for event, line in _read(page["events"])]
                if number == _PAGES_MAX:
                    self._note(f"the log of {group} is long: only a part of it was searched. Narrow it with --since")
                    break
        except (ClientError, BotoCoreError) as error:
            self._note(f"some logs can't be read: {error}")
        return found

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _read(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Line]]:
    for event in events:
        line = read_line(event["message"], event["timestamp"])
        if line is not None:
            yield event, line


def read_line(message: str, logged_at_ms: int) -> Line | None:
    """Read a line as functions log them; None for Lambda's own, such as START."""
    try:
        content = json.loads(message)
    except ValueError:
        return None
    if not isinstance(content, dict) or "message" not in content:
        return None
    return Line(
        at_ms=_time_of(str(content.get("timestamp", "")), logged_at_ms),
        service=str(content.get("service", "")),
        level=str(content.get("level", "")),
        message=str(content["message"]),
        fields={name: value for name, value in content.items() if name not in _OF_EVERY_LINE},
    )


def _time_of(text: str, otherwise_ms: int) -> int:
    """When the function wrote a line, by itself: CloudWatch may stamp a whole invocation's lines with one time."""
    try:
        return round(datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f%z").timestamp() * 1000)
    except ValueError:
        return otherwise_ms

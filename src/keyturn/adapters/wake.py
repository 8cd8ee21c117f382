"""The alarm clock: delayed messages that bring something back to the watchdog between its passes."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from keyturn.adapters.failures import translated
from keyturn.core.naming import key_problem
from keyturn.core.parse import parse_json
from keyturn.limits import MESSAGE_DELAY_S_MAX


class Subject(StrEnum):
    """What a message is about, by the name it has in it."""

    KEY = "key"
    """A key; free slots if it is empty."""
    RAMP = "ramp"
    """A released route, whose keys go on."""
    BREAKER = "breaker"
    """A breaker, whose next probe may go."""
    RELEASE = "release"
    """A release that was rolled back, by its number, whose parked keys are resumed."""


@dataclass(frozen=True, slots=True)
class WakeQueue:
    """Sends keys to the watchdog, later. A lost message costs time only: the index is the truth."""

    client: Any
    url: str

    def wake_at(self, name: str, at_ms: int, now_ms: int, subject: Subject = Subject.KEY) -> None:
        """Have the watchdog look at something at `at_ms`, or after 15 minutes (the longest delay) if that is sooner."""
        delay_s = max(0, -(-(at_ms - now_ms) // 1000))
        # A watchdog that knows keys only looks for free slots when it gets another subject.
        body = {"key": "", "at_ms": at_ms, subject.value: name}
        with translated("sending a wake-up message"):
            self.client.send_message(
                QueueUrl=self.url,
                MessageBody=json.dumps(body),
                DelaySeconds=min(delay_s, MESSAGE_DELAY_S_MAX),
            )


def subject_of(body: object) -> tuple[Subject, str]:
    """Read what a message is about; raises ValueError for one that isn't ours."""
    found = parse_json(body.encode()) if isinstance(body, str) else None
    content = found if isinstance(found, dict) else {}
    subject = next(
        (one for one in (Subject.RAMP, Subject.BREAKER, Subject.RELEASE) if one.value in content), Subject.KEY
    )
    name = content.get(subject.value)
    problem = key_problem(name) if name != "" else None
    if problem or not isinstance(name, str):
        raise ValueError(f"a wake-up message names no {subject.value}: {problem}")
    return subject, name

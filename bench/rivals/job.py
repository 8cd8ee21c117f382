"""How the bench talks to a rival: a line of JSON for each run in, one out.

Standard library only, since the rival has a virtual environment of its own.

in    {"run": "r1", "limit_s": 60, "events": [[key, number, id, data], ...]}
out   {"put_at_ms": {id: ms}, "effects": [[key, turn, number, step, ms], ...]} or {"error": "..."}
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bench.workers import ledger

STEPS = 3
LOOK_EVERY_S = 0.1


class Event(NamedTuple):
    """One event of the workload."""

    key: str
    number: int
    id: str
    data: str


def serve(put: Callable[[Event], int], *, putters: int) -> None:
    """Answer runs until standard input ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        events = [Event(*one) for one in job["events"]]
        put_at_ms = _put_all(put, events, putters)
        deadline_s = time.monotonic() + job["limit_s"]
        while (missing := len(events) * STEPS - ledger.count_of(job["run"])) and time.monotonic() < deadline_s:
            time.sleep(LOOK_EVERY_S)
        if missing:
            answer: object = {"error": f"{missing} effects are missing after {job['limit_s']:.0f} s"}
        else:
            answer = {"put_at_ms": put_at_ms, "effects": ledger.effects_of(job["run"])}
        print(json.dumps(answer), flush=True)


def _put_all(put: Callable[[Event], int], events: Sequence[Event], putters: int) -> dict[str, int]:
    """Put with several threads, the events of a key by one of them in order."""
    lanes: defaultdict[int, list[Event]] = defaultdict(list)
    lane_of: dict[str, int] = {}
    for event in events:
        lanes[lane_of.setdefault(event.key, len(lane_of) % putters)].append(event)
    with ThreadPoolExecutor(putters) as pool:
        parts = pool.map(lambda lane: [(event.id, put(event)) for event in lane], lanes.values())
        return dict(entry for part in parts for entry in part)

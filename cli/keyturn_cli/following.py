"""Shows progress until everything is over: a bar for people, plain lines for logs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rich.progress import BarColumn, Progress, TextColumn

from keyturn_cli.errors import NotDone
from keyturn_cli.progress import Standing, Watch
from keyturn_cli.screen import Screen

LOOK_EVERY_S: Final = 1.0
LOOK_AT_LEAST_EVERY_S: Final = 3.0
SHARE_OF_TIME: Final = 0.1
"""Looking takes no more of the time than this, as far as the limit above allows."""
PLAIN_EVERY_S: Final = 5.0
_RATE_OVER_S: Final = 5.0


@dataclass(slots=True)
class Pace:
    """Records a second, over the last seconds."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now_s: float, through: int) -> None:
        """Remember how many records were through at a time."""
        self._seen.append((now_s, through))
        while len(self._seen) > 2 and self._seen[1][0] < now_s - _RATE_OVER_S:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """0 until something moves."""
        if len(self._seen) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


def follow(watch: Watch, screen: Screen, *, limit_s: float, is_alive: Callable[[], str | None]) -> Standing:
    """Wait until nothing changes any more. Raises NotDone after `limit_s`, or as soon as `is_alive` names a trouble."""
    began_s = time.monotonic()
    pace, said_s = Pace(), began_s
    columns = (TextColumn("  "), BarColumn(bar_width=30), TextColumn("{task.description}"))
    with Progress(*columns, console=screen.console, disable=not screen.is_live, transient=True) as bar:
        task = bar.add_task("", total=watch.total)
        while True:
            looked_s = time.monotonic()
            standing = watch.look()
            now_s = time.monotonic()
            pace.note(now_s, standing.done + standing.parked)
            told = describe(standing, pace.per_second)
            bar.update(task, completed=standing.done + standing.parked, description=told)
            if standing.is_over:
                return standing
            _give_up(standing, now_s - began_s, limit_s, is_alive())
            if not screen.is_live and now_s - said_s >= PLAIN_EVERY_S:
                screen.line(f"  {now_s - began_s:4.0f} s  {told}")
                said_s = now_s
            time.sleep(min(max(LOOK_EVERY_S, (now_s - looked_s) / SHARE_OF_TIME), LOOK_AT_LEAST_EVERY_S))


def describe(standing: Standing, per_second: float) -> str:
    """A standing in one line."""
    left = f", about {standing.left / per_second:,.0f} s left" if per_second > 0 and standing.left else ""
    return (
        f"{standing.done:,} of {standing.total:,} done, keys: {standing.running_keys:,} in flight,"
        f" {standing.waiting_keys:,} waiting, {standing.parked_keys:,} parked; {per_second:,.0f}/s{left}"
    )


def _give_up(standing: Standing, elapsed_s: float, limit_s: float, trouble: str | None) -> None:
    if trouble is None and elapsed_s < limit_s:
        return
    keys = ", ".join(repr(key) for key in standing.open_keys[:3]) + (", ..." if len(standing.open_keys) > 3 else "")
    why = trouble or f"after {elapsed_s:.0f} s"
    raise NotDone(
        f"{why}: {standing.left:,} of {standing.total:,} records aren't done, on {len(standing.open_keys):,} keys"
        f" ({keys})"
    )

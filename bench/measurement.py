"""What one run of one contender came to, and the figures of several. Pure, but for the JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.order import Effect
from bench.workload import STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run."""

    contender: str
    workload: str
    events: int
    keys: int
    round: int
    """Runs of one round had the same engine, one after another: only their ratios are fair."""
    events_per_s: float
    """From the first put to the last effect."""
    p50_ms: float
    """From an event's put to its last effect; beside a busy key, of the other keys' events only."""
    p99_ms: float
    cpu_s: float
    """Of all processes of the contender: engine, functions, event source or server, and client."""
    order: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a contender used of AWS for an event, counted on a run of its own."""

    contender: str
    workload: str
    events: int
    keys: int
    write_units: float
    """With the index; without the workers' own effects, which are the same for all."""
    read_units: float
    transitions: float
    """States entered by Standard executions."""
    express_starts: float
    invocations: float
    log_bytes: float
    dollars_per_million: float
    """For what is counted: without the time of functions and of Express executions."""


@dataclass(frozen=True, slots=True)
class Results:
    """A bench's results with what one must know of them."""

    about: Mapping[str, str]
    measurements: tuple[Measurement, ...] = ()
    usage: tuple[Usage, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Contender -> why it didn't run."""

    def write(self, path: Path) -> None:
        """Keep them as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote."""
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            about=found["about"],
            measurements=tuple(Measurement(**one) for one in found["measurements"]),
            usage=tuple(Usage(**one) for one in found["usage"]),
            left_out=found["left_out"],
        )


def merged(older: Results, newer: Results) -> Results:
    """Put newer results in the place of older ones of the same contender and workload; the rest stays."""
    measured = {(one.contender, one.workload) for one in newer.measurements}
    counted = {(one.contender, one.workload) for one in newer.usage}
    kept = tuple(one for one in older.measurements if (one.contender, one.workload) not in measured)
    kept_usage = tuple(one for one in older.usage if (one.contender, one.workload) not in counted)
    return Results(
        about=newer.about,
        measurements=kept + newer.measurements,
        usage=kept_usage + newer.usage,
        left_out={**older.left_out, **newer.left_out},
    )


def done_at_ms(effects: Iterable[Effect]) -> dict[tuple[str, int], int]:
    """Tell when each event's last effect was: (key, number) -> epoch milliseconds, of whole events only."""
    seen: dict[tuple[str, int], dict[str, int]] = {}
    for effect in effects:
        seen.setdefault((effect.key, effect.number), {})[effect.step] = effect.at_ms
    return {place: max(steps.values()) for place, steps in seen.items() if len(steps) == len(STEPS)}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values doesn't pass (nearest rank); 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Beside:
    """How a busy key changes the waits of the others: medians of the rounds."""

    p50_alone_ms: float
    p50_ms: float
    p99_alone_ms: float
    p99_ms: float
    p99_ratio: float
    """Beside the busy key to without it, within the same round; the median of those."""


def beside(alone: Sequence[Measurement], with_busy: Sequence[Measurement]) -> Beside | None:
    """Compare one contender's runs without and with a busy key, of the rounds that have both; None if none has."""
    by_round = {run.round: run for run in alone}
    pairs = [(by_round[run.round], run) for run in with_busy if run.round in by_round]
    if not pairs:
        return None
    return Beside(
        p50_alone_ms=median(before.p50_ms for before, _ in pairs),
        p50_ms=median(run.p50_ms for _, run in pairs),
        p99_alone_ms=median(before.p99_ms for before, _ in pairs),
        p99_ms=median(run.p99_ms for _, run in pairs),
        p99_ratio=median(run.p99_ms / before.p99_ms for before, run in pairs),
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians of a contender's runs of a workload."""

    runs: int
    events_per_s: float
    slowest: float
    fastest: float
    ratio: float | None
    """Of the reference contender's speed, within the same round; the median of those."""
    p50_ms: float
    p99_ms: float
    cpu_ms_per_event: float
    order: str
    """The worst verdict."""


def summarize(runs: Sequence[Measurement], reference: Mapping[int, float]) -> Summary:
    """Sum one contender's runs of one workload up. `reference` is the speed of the reference by round."""
    speeds = [run.events_per_s for run in runs]
    ratios = [run.events_per_s / reference[run.round] for run in runs if reference.get(run.round)]
    return Summary(
        runs=len(runs),
        events_per_s=median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        ratio=median(ratios) if ratios else None,
        p50_ms=median(run.p50_ms for run in runs),
        p99_ms=median(run.p99_ms for run in runs),
        cpu_ms_per_event=median(1000 * run.cpu_s / run.events for run in runs),
        order=max((run.order for run in runs), key=_badness),
    )


def _badness(order: str) -> int:
    return next(place for place, start in enumerate(("every", "by step", "no", "BROKEN")) if order.startswith(start))

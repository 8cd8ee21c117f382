"""The demo's report, for somebody who sees Keyturn for the first time."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from keyturn_cli.evidence import LEDGER_FILE, SAMPLE_FILE
from keyturn_cli.facts import Facts
from keyturn_cli.guarantees import Effect, Fate, History, Place, Sent, fate
from keyturn_cli.looking.wording import argument
from keyturn_cli.metrics import percentile
from keyturn_cli.putter import Put
from keyturn_cli.report import Check, print_checks, run_checks
from keyturn_cli.sample import Expected, Sample, SampleRecord, Trouble
from keyturn_cli.screen import Screen

_FATES = {
    Expected.RUN: Fate.DONE,
    Expected.DUPLICATE: Fate.DUPLICATE,
    Expected.QUARANTINED: Fate.QUARANTINED,
    Expected.PARKED: Fate.PARKED,
    Expected.WAITS_BEHIND: Fate.PARKED,
}
_END = {
    Expected.RUN: "done all the same",
    Expected.DUPLICATE: "dropped as a duplicate",
    Expected.QUARANTINED: "kept in quarantine",
    Expected.PARKED: "parked with its key",
    Expected.WAITS_BEHIND: "parked with its key",
}
_KEY_CHARACTERS_SHOWN_MAX = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things took, and what helped."""

    processed_s: float
    """From the last put to the last record being through."""
    watchdog_every_s: float
    watchdog_invoked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that the report tells of."""

    sample: Sample
    puts: tuple[Put, ...]
    facts: Facts
    metrics: Mapping[str, list[float]]
    times: Times
    evidence: Path


def print_report(screen: Screen, outcome: Outcome) -> int:
    """Print the report; return how many checks failed."""
    checks = [*run_checks(outcome.facts.history), check_sample(outcome)]
    for title, lines in _sections(outcome):
        screen.line(f"\n{title}")
        for line in lines:
            screen.line(f"  {line}")
    screen.line("\nChecked, from what the workers themselves wrote into their ledger")
    print_checks(screen, checks)
    broken = sum(not check.holds for check in checks)
    screen.line()
    screen.line("Every promise held." if not broken else f"{broken} of {len(checks)} checks failed.")
    screen.line("\nTo look further")
    for line in _further(outcome):
        screen.line(f"  {line}")
    return broken


def check_sample(outcome: Outcome) -> Check:
    """Whether every record of the sample ended as it was meant to, and is in quarantine for the right reason."""
    wrong = [told for one, sent in _paired(outcome) if (told := _mismatch(one, sent, outcome.facts.history))]
    proof = f"all {len(outcome.sample.records):,} records ended as the sample means them to"
    return Check("sample ends as meant", not wrong, tuple(wrong) or (proof,))


def _paired(outcome: Outcome) -> Iterator[tuple[SampleRecord, Sent]]:
    """Each record of the sample with where the stream has it: the same one of its key, counted in order."""
    by_key: dict[str, deque[SampleRecord]] = defaultdict(deque)
    for one in outcome.sample.records:
        by_key[one.key].append(one)
    for sent in sorted(outcome.facts.history.sent, key=lambda sent: sent.place):
        yield by_key[sent.place.key].popleft(), sent


def _mismatch(one: SampleRecord, sent: Sent, history: History) -> str:
    """What is wrong with a record's end; empty if nothing is."""
    ended = fate(sent, history)
    who = f"record {sent.line} of the sample (key {short_key(one.key)}, {one.trouble.value})"
    if ended is not _FATES[one.expected]:
        return f"{who} is {ended.value}, not {one.expected.value}"
    reason = history.quarantined.get(sent.place) if one.reason else None
    if one.reason and reason != one.reason.value:
        return f"{who} is quarantined as {reason}, not as {one.reason.value}"
    return ""


def _sections(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    yield "What was put into the stream", _sample(outcome)
    yield "What Keyturn made of it", _processing(outcome)
    yield "How fast", _speed(outcome)


def _sample(outcome: Outcome) -> list[str]:
    expected, records = outcome.sample.expectations, outcome.sample.records
    cases = Counter((one.trouble, one.expected) for one in records if one.trouble is not Trouble.NONE)
    return [
        f"{expected.records:,} records on {expected.keys:,} keys (orders of a shop); among them, awkward on purpose:",
        *(f"  {count:>3,}  {trouble.value}: to be {_END[to]}" for (trouble, to), count in cases.items()),
    ]


def _processing(outcome: Outcome) -> list[str]:
    facts, total = outcome.facts, {name: int(sum(values)) for name, values in outcome.metrics.items()}
    history = facts.history
    fates = Counter(fate(sent, history) for sent in history.sent)
    reasons = Counter(found.reason for found in facts.quarantined)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    started, restarted = total.get("Started", 0), total.get("Restarted", 0)
    return [
        f"{fates[Fate.DONE]:,} events processed on {len(history.by_key):,} keys in {started:,} runs, with retries",
        f"{fates[Fate.DUPLICATE]:,} duplicates dropped",
        f"{fates[Fate.QUARANTINED]:,} bad records in quarantine, raw bytes and reason kept ({told})",
        f"{facts.repeated_tries:,} steps that fail or hang on purpose tried again",
        f"{restarted:,} runs restarted after a failed attempt; steps that were done are not done again",
        *_parked(history, fates[Fate.PARKED]),
    ]


def _parked(history: History, records: int) -> list[str]:
    if not history.parked:
        return []
    names = ", ".join(short_key(key) for key in sorted(history.parked))
    behind = records - len(history.parked)
    return [
        f"{len(history.parked):,} keys parked ({names}): a step of theirs fails for good, and order",
        f"matters more than progress. {behind:,} later events of theirs wait for a person; all other keys went on",
    ]


def short_key(key: str) -> str:
    """A key as a line of text can hold it."""
    return repr(key if len(key) <= _KEY_CHARACTERS_SHOWN_MAX else key[:_KEY_CHARACTERS_SHOWN_MAX] + "...")


def _speed(outcome: Outcome) -> list[str]:
    effects, times = outcome.facts.history.effects, outcome.times
    first_ms = min(put.at_ms for put in outcome.puts)
    elapsed_s = max(0.001, (max((effect.ended_at_ms for effect in effects), default=first_ms) - first_ms) / 1000)
    events = len({effect.place for effect in effects})
    rate = events / elapsed_s
    return [
        f"{events:,} events with {len(effects):,} effects in {elapsed_s:.1f} s: {rate:,.0f} events a second",
        *_latency(outcome, _ends_ms(effects)),
        f"restarts take seconds here since the demo invoked the deployed watchdog {times.watchdog_invoked:,} times,",
        f"every {times.watchdog_every_s:.0f} s, besides its schedule of once a minute",
    ]


def _latency(outcome: Outcome, ended_ms: Mapping[Place, int]) -> list[str]:
    measured = outcome.metrics.get("PutToDone", [])
    source = "sequencer's metric PutToDone: from the stream's arrival time to the end of the run"
    if not measured:
        by_place = {sent.place: put.at_ms for put, sent in zip(outcome.puts, outcome.facts.history.sent, strict=True)}
        measured = [float(end - by_place[place]) for place, end in ended_ms.items() if place in by_place]
        source = "from the put call to the last effect in the ledger: no PutToDone metric was found in the logs"
    if not measured:
        return ["nothing was processed"]
    p50, p99 = (percentile(measured, share) / 1000 for share in (0.50, 0.99))
    return [
        f"from put to done: p50 {p50:.1f} s, p99 {p99:.1f} s ({source})",
        "all records are put at once, so most of that is waiting for a slot or for the key's earlier events",
    ]


def _ends_ms(effects: tuple[Effect, ...]) -> Mapping[Place, int]:
    """When the last effect of each record ended."""
    ends: dict[Place, int] = {}
    for effect in effects:
        ends[effect.place] = max(ends.get(effect.place, 0), effect.ended_at_ms)
    return ends


def _further(outcome: Outcome) -> list[str]:
    folder = outcome.evidence
    sample = argument(str(folder / SAMPLE_FILE))
    return [
        f"{folder / LEDGER_FILE}   every effect of every worker, by key, in the order it was written",
        f"{folder}/quarantine.jsonl, attempts.jsonl   what was rejected and why, which attempts failed",
        f"{folder.parent}/engine.log   what every function logged, as JSON",
        f"make up && make push FILE={sample} ARGS=--wait   the same on a stack that stays up",
    ]

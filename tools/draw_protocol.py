"""Draws the protocol into docs/design.md: which command takes a key from which phase to which.

python -m tools.draw_protocol           # writes the picture and the table between the markers of docs/design.md
python -m tools.draw_protocol --check   # exit code 1 when they are not up to date

Phases and commands come from the protocol's own table, ACCEPTS. Where a command leads, a walk over a small world shows:
one key, two events, every route policy, every way an attempt can end, holds, replays. A cell that the walk never enters
is an error.
"""

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from keyturn.core import commands as ask
from keyturn.core.positions import position
from keyturn.core.protocol import ACCEPTS, Rules, transition
from keyturn.core.route import Backoff, Batch, Exhaustion, Kind, Route
from keyturn.core.state import KeyState, Phase, Replay, Slice, Span, passed, rewound, to_run

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "design.md"
BEGIN: Final = "<!-- protocol: written by tools/draw_protocol.py -->"
END: Final = "<!-- end of protocol -->"

EVENTS: Final = tuple(position(1, str(number)) for number in (1, 2))
HOUR_MS: Final = 3_600_000
ROUTES: Final = tuple(
    Route("r", "t", "w", Kind.STANDARD, None, 60, 3, 2, Backoff(1, 2.0, 60), policy, Batch(1, 1000), False)
    for policy in Exhaustion
)
ENDINGS: Final = tuple(
    ask.Ending(outcome, clean, permanent)
    for outcome in ask.Outcome
    for clean in (True, False)
    for permanent in (True, False)
)

SPANS: Final = ((Span(EVENTS[0], EVENTS[0]),), (Span(EVENTS[0], EVENTS[0]), Span(EVENTS[1], EVENTS[1])))
OPERATOR: Final = ask.Operator("somebody", "")
CHANGING_NOTHING: Final = frozenset({ask.Rejoin})
"""Commands that are refused always, and bring what they ask for with the refusal."""

Cells = dict[tuple[Phase, type[ask.Command]], set[Phase]]
"""From a phase, by a command -> the phases that may follow."""


@dataclass(frozen=True)
class _Place:
    """A state of the key at a time; the walk takes two that differ in neither of `seen_as` for one."""

    state: KeyState
    now_ms: int

    @property
    def seen_as(self) -> tuple[object, ...]:
        state = self.state
        run = (state.run.slice.first, state.run.attempt, state.run.execution_id) if state.run else None
        diverts = state.parked.diverts if state.parked else None
        asked = (state.hold is not None, (state.replay.spans, state.replay.is_noted) if state.replay else None)
        stands = (state.phase, state.waits_for, state.cursor, state.tail)
        return (*stands, run, diverts, *asked, self.now_ms < state.not_before_ms)


def walk() -> Cells:
    """Visit every state of the small world; return where each cell of the table leads."""
    cells: Cells = {}
    start = _Place(KeyState("k"), HOUR_MS)
    seen, todo = {start.seen_as}, deque([start])
    while todo:
        place = todo.popleft()
        for now_ms in (place.now_ms, place.now_ms + HOUR_MS):
            for command in _commands(place.state):
                done = transition(place.state, command, now_ms, Rules())
                if done.refusal is not None:
                    continue
                cells.setdefault((place.state.phase, type(command)), set()).add(done.state.phase)
                reached = _Place(replace(done.state, version=done.state.version + 1), now_ms)
                if reached.seen_as not in seen:
                    seen.add(reached.seen_as)
                    todo.append(reached)
    _check_complete(cells)
    return cells


def _check_complete(cells: Cells) -> None:
    wanted = {(phase, command) for phase, commands in ACCEPTS.items() for command in commands - CHANGING_NOTHING}
    if wanted != set(cells):
        missed = ", ".join(f"{command.__name__} x {phase}" for phase, command in wanted ^ set(cells))
        raise SystemExit(f"tools/draw_protocol.py: the small world never enters {missed}. Teach _commands to.")


def _commands(state: KeyState) -> Iterator[ask.Command]:
    fence = state.fence
    for tail in EVENTS:
        for following in _nexts(replace(state, tail=tail)):
            yield ask.Admit(tail, 1, HOUR_MS, following)
    for following in _nexts(state):
        if following is not None:
            yield ask.Claim(following)
    yield ask.Bind(fence, "x")
    yield ask.Extend(fence, "x", HOUR_MS * 1_000)
    yield ask.Postpone(fence, state.not_before_ms + HOUR_MS)
    yield ask.Retime(HOUR_MS)
    yield ask.Park("")
    yield from _ends_of_attempts(state)
    if state.has_pending:
        _, through = to_run(state) or (state.cursor, state.tail)
        yield ask.Divert(through, 1)
    yield from _operators(state)


def _ends_of_attempts(state: KeyState) -> Iterator[ask.Command]:
    if state.run is None:
        return
    for route in ROUTES:
        for following in _nexts(passed(state, state.run.slice.last, 1)):
            for ending in ENDINGS:
                yield ask.Finish(state.fence, "x", ending, route, following)
            for evidence in ask.Evidence:
                yield ask.Expire(state.fence, evidence, route, following)
            yield ask.GiveUp(state.fence, "", route, following)


def _operators(state: KeyState) -> Iterator[ask.Command]:
    yield ask.Hold(OPERATOR)
    yield ask.Release(OPERATOR)
    yield ask.Resume(OPERATOR)
    for head in _nexts(state):
        failed = state.run.slice if state.run else head.slice if head else None
        for following in _nexts(passed(state, failed.last, 1)) if failed else [None]:
            yield ask.Skip(OPERATOR, failed, following)
    held_at_ms = state.hold.at_ms if state.hold else 0
    for spans in SPANS:
        begun = rewound(state, Replay("", 0, 0, spans))
        for following in _nexts(begun):
            name = str(state.version)
            yield ask.Rewind(OPERATOR, name, spans, state.generation, held_at_ms, True, following)
    if state.replay is not None:
        for following in _nexts(replace(state, cursor=state.replay.resume_at, replay=None)):
            yield ask.CancelReplay(OPERATOR, state.replay.id, following)


def _nexts(state: KeyState) -> Iterator[ask.Next | None]:
    """Yield what a key may run next: nothing if nothing is pending, else one event, by a route, a held one or none."""
    cursor, through = to_run(state) or (state.cursor, state.cursor)
    waiting = [event for event in EVENTS if cursor < event <= through]
    if not waiting:
        yield None
        return
    cut = Slice(waiting[0], waiting[0], 1, "r", HOUR_MS, "f")
    yield ask.Next(cut, ROUTES[0], has_slot=True)
    yield ask.Next(cut, ROUTES[0], has_slot=False)
    yield ask.Next(cut, ROUTES[0], has_slot=False, is_held=True)
    yield ask.Next(cut, None, has_slot=True)


def draw(cells: Cells) -> str:
    """Return a diagram (mermaid) and the table it was made of."""
    return "\n".join([BEGIN, "", "```mermaid", *_diagram(cells), "```", "", *_table(cells), "", END])


def _diagram(cells: Cells) -> Iterator[str]:
    yield "stateDiagram-v2"
    yield "    [*] --> idle"
    for before in Phase:
        for after in Phase:
            names = [kind.__name__ for kind in _kinds() if after in cells.get((before, kind), ())]
            if names:
                yield f"    {before} --> {after}: {', '.join(names)}"


def _table(cells: Cells) -> Iterator[str]:
    yield f"| command | {' | '.join(Phase)} |"
    yield f"| --- | {' | '.join('---' for _ in Phase)} |"
    for kind in _kinds():
        yield f"| {kind.__name__} | {' | '.join(_cell(cells, phase, kind) for phase in Phase)} |"


def _cell(cells: Cells, before: Phase, kind: type[ask.Command]) -> str:
    after = cells.get((before, kind), set())
    return ", ".join("stays" if phase is before else phase for phase in Phase if phase in after) or "-"


def _kinds() -> tuple[type[ask.Command], ...]:
    return get_args(ask.Command)


def updated(page: str) -> str:
    """Return the page with what stands between the markers drawn anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE.name} lacks the markers {BEGIN} and {END}: put them where the picture belongs.")
    return before + draw(walk()) + behind


def main(arguments: list[str]) -> int:
    """Write the page, or only tell whether it is up to date."""
    page = PAGE.read_text(encoding="utf-8")
    drawn = updated(page)
    if arguments == ["--check"]:
        if drawn != page:
            print(f"Error: {PAGE.name} shows an older protocol. Run: python -m tools.draw_protocol", file=sys.stderr)
        return int(drawn != page)
    PAGE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

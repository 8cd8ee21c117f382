"""What a key's state means, in words: pure, without AWS."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest
from keyturn_cli.errors import BadInput
from keyturn_cli.looking.explanation import explain, pending
from keyturn_cli.looking.fates import Fate, fate
from keyturn_cli.looking.overview import Oldest, Overview, WatchdogPass
from keyturn_cli.looking.positions import read_position
from keyturn_cli.looking.queues import Mark
from keyturn_cli.looking.status_page import needs, status_document, status_lines
from keyturn_cli.looking.times import as_json, lasting, moment, since
from keyturn_cli.looking.wording import aligned, argument, command, one_line, printable, quoted

from keyturn.core.breaker import Breaker, BreakerPhase
from keyturn.core.protocol import NO_ROUTE
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source
from keyturn.core.replay_plan import Fate as ReplayFate
from keyturn.core.replay_plan import Selection, Tally
from keyturn.core.route import Exhaustion
from keyturn.core.route_hold import RouteHold
from keyturn.core.state import KeyState, Parked
from tests.core import states as make
from tests.core.states import NOW_MS, at

ODD_KEYS = [
    "order-7",
    "-n",
    "--help",
    "it's",
    "a b",
    "tab\there",
    "line\nbreak",
    "\x1b[31mred",
    "🫖☕",
    "k" * 256,
    '"$HOME`',
]


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (-5, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (3_649, "3.6 s"),
        (10_999, "10 s"),
        (60_000, "1 min"),
        (185_000, "3 min 5 s"),
        (7_200_000, "2 h"),
        (7_860_000, "2 h 11 min"),
        (356_400_000, "4 d 3 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(duration_ms: int, text: str) -> None:
    assert lasting(duration_ms) == text


def test_a_time_is_told_with_its_distance() -> None:
    """Past and future, and with its date when it is far."""
    now_ms = 1_767_600_000_000
    assert since(now_ms - 999, now_ms) == "just now"
    assert since(now_ms + 3_000, now_ms) == "in 3 s"
    assert moment(now_ms - 180_000, now_ms) == "07:57:00 UTC (3 min ago)"
    assert moment(now_ms - 86_400_000, now_ms) == "2026-01-04 08:00:00 UTC (1 d ago)"
    assert as_json("at", now_ms + 7) == {"at": "2026-01-05T08:00:00.007Z", "at_ms": now_ms + 7}
    assert as_json("at", 0) == {"at": None, "at_ms": None}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_whatever_the_key_a_command_reaches_it(key: str) -> None:
    """A command that is shown can be pasted into a shell, and arrives as the key that it is about."""
    line = command("key", key, "--results")
    assert "\n" not in line
    assert line.isprintable()
    shown = subprocess.run(
        ["bash", "-c", f"keyturn() {{ printf '%s\\0' \"$@\"; }}; {line}"], capture_output=True, check=True
    ).stdout
    arguments = shown.decode().split("\0")[:-1]
    assert sorted(arguments) == sorted(["key", key, "--results", *(["--"] if key.startswith("-") else [])])
    assert arguments[-1] == key or not key.startswith("-")
    assert quoted(key).isprintable()


def test_what_others_wrote_moves_no_cursor() -> None:
    """Reasons quote workers, and workers quote anything."""
    assert one_line("first\nsecond \x1b[2J\ttab") == "first second \\x1b[2J tab"
    assert argument("plain") == "plain"
    assert printable("first\nsecond \x1b[2J\x9b\u202e") == "first\nsecond \\x1b[2J\\x9b\\u202e"


def test_columns_stay_straight_whatever_the_script() -> None:
    """Wide characters count as they are drawn; a very long text sticks out instead of pushing all others away."""
    rows = aligned([["ab", "x"], ["茶茶", "y"], ["k" * 256, "z"]])
    assert rows == ["ab    x", "茶茶  y", "k" * 256 + "  z"]


def test_a_parked_key_says_why_and_what_can_be_done() -> None:
    """With the commands, ready to be typed."""
    told = explain(make.parked(through=3), NOW_MS + 60_000)
    assert told.headline == "is parked since 00:16:40 UTC (1 min ago): no such card"
    assert "2 later events of it wait behind that run" in told.notes
    assert [one.command for one in told.advice] == [
        "keyturn resume k --reason WHY",
        "keyturn resume k --fresh --reason WHY",
        "keyturn skip k --reason WHY",
        "keyturn run k",
    ]


def test_a_key_that_diverts_can_be_resumed_but_not_skipped() -> None:
    """Policy fail-behind: nothing of it is left to skip."""
    told = explain(make.parked(1, Exhaustion.FAIL_BEHIND), NOW_MS)
    assert [one.command for one in told.advice] == ["keyturn resume k --reason WHY"]
    assert any("dead letter" in note for note in told.notes)


def test_a_key_that_no_route_takes_asks_for_one() -> None:
    state = replace(make.parked(), run=None, parked=Parked(NOW_MS, NO_ROUTE))
    told = explain(state, NOW_MS)
    assert "deploy a route that takes the event, then resume the key" in told.notes
    assert not any("--fresh" in one.command for one in told.advice)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (make.idle(), "is idle: all its 0 events are finished"),
        (make.done(1), "is idle: its event is finished"),
        (make.done(2), "is idle: all its 2 events are finished"),
        (make.held(make.done(1)), "is idle, and held since"),
        (make.running(), "no worker of it has begun yet"),
        (make.bound(), "attempt 1, to end in"),
        (make.waiting_for_slot(), "for a slot: as many runs are in flight as allowed"),
        (make.waiting_for_time(), "attempt 2 may begin in"),
        (make.held_route(), "its route sample is held"),
        (make.held(make.waiting_for_slot()), "held by somebody: because"),
    ],
)
def test_each_state_has_words(state: KeyState, said: str) -> None:
    """Why it is where it is."""
    assert said in explain(state, NOW_MS).headline


def test_an_attempt_past_its_deadline_is_the_watchdogs() -> None:
    state = make.bound()
    assert state.run is not None
    assert (
        "past its deadline (1 min ago); the watchdog ends it" in explain(state, state.run.deadline_ms + 60_000).headline
    )


def test_a_hold_is_explained_with_its_release() -> None:
    """Also while a run is under way, which the hold lets end."""
    told = explain(make.held(make.bound()), NOW_MS)
    assert any("held by somebody" in note and "the run under way goes on" in note for note in told.notes)
    assert any(one.command == "keyturn release k --reason WHY" for one in told.advice)


def test_a_replay_is_explained() -> None:
    """Noted while a run has the key; else under way."""
    begun = make.after(make.done(3), make.rewind(make.done(3), (1, 2), next=make.following(1)))
    assert any("runs finished events again" in note for note in explain(begun, NOW_MS).notes)
    assert pending(begun) == 0


def test_each_event_has_its_fate() -> None:
    """From the key's state alone, but for dead letters."""
    parked = make.parked(through=3)
    assert [fate(parked, at(number), is_dead_lettered=False) for number in (1, 2, 4)] == [
        Fate.PARKED,
        Fate.WAITING,
        Fate.NOT_ADMITTED,
    ]
    assert fate(make.bound(), at(1), is_dead_lettered=False) is Fate.RUNNING
    assert fate(make.waiting_for_time(), at(1), is_dead_lettered=False) is Fate.RETRYING
    assert fate(make.done(2), at(2), is_dead_lettered=False) is Fate.DONE
    assert fate(make.done(2), at(2), is_dead_lettered=True) is Fate.DEAD_LETTERED


def test_what_is_replayed_isnt_unfinished_and_what_isnt_is_done() -> None:
    """The cursor is behind them all, though they are finished."""
    done = make.done(4)
    replaying = make.after(done, make.rewind(done, (2, 3), next=make.following(2, has_slot=False)))
    fates = [fate(replaying, at(number), is_dead_lettered=False) for number in (1, 2, 3, 4)]
    assert fates == [Fate.DONE, Fate.REPLAYING, Fate.REPLAYING, Fate.DONE]


def test_a_token_goes_to_a_page_and_back_whatever_the_key() -> None:
    """And can be pasted anywhere."""
    for key in ODD_KEYS:
        mark = Mark(NOW_MS, key)
        token = mark.token("--phase held")
        assert argument(token) == token
        assert Mark.read(token, "--phase held") == mark


@pytest.mark.parametrize("token", ["", "x", "!", "e30", "WzFd", "🫖", "W10" * 900, "WzEsMiwzLDRd"])
def test_a_bad_token_is_named(token: str) -> None:
    with pytest.raises(BadInput, match="--after is no token of this command"):
        Mark.read(token, "")


def test_a_token_of_another_listing_is_refused() -> None:
    """It would go on in the middle of something else."""
    with pytest.raises(BadInput, match="other options"):
        Mark.read(Mark(1, "k").token("--phase parked "), "--phase held ")


@pytest.mark.parametrize("text", ["", "x", "-1", "1" * 57, "0001-1-1", "٣"])
def test_a_bad_position_is_named(text: str) -> None:
    with pytest.raises(BadInput, match="is no position"):
        read_position(text, 1)


def test_a_position_may_be_a_sequence_number() -> None:
    """As the producer was told it."""
    assert read_position("17", 1) == at(17)
    assert read_position(at(17), 5) == at(17)


def _overview(**changes: object) -> Overview:
    quiet = Overview(
        where="here",
        stack_name="keyturn",
        running=1,
        waiting=2,
        retry=0,
        parked=0,
        held=0,
        cap=3,
        oldest=None,
        lag_s=None,
        parked_keys=(),
        held_keys=(),
        holds=(),
        breakers=(Breaker("card"),),
        replays=(),
        quarantined=0,
        dead_letters=0,
        watchdog=WatchdogPass(NOW_MS - 60_000, 0, 0, 0),
        now_ms=NOW_MS,
    )
    return replace(quiet, **changes)  # type: ignore[arg-type]  # each test names fields of its own


def test_a_stack_that_needs_nobody_says_so() -> None:
    assert needs(_overview()) == []
    assert "Nothing needs a person." in [line.text for line in status_lines(_overview())]


def test_a_replay_under_way_is_told_with_who_asked_since_when_and_how_far_it_is() -> None:
    """By what was asked last: whoever called it off is the one to ask."""
    planned = ReplayJob(
        "20260105-080000-ab12",
        JobState.PLANNING,
        Source.SCAN,
        Selection(),
        Act("sam", "a bad\ndeploy", NOW_MS - 60_000),
        found=31,
    )
    applied = replace(
        planned,
        state=JobState.APPLYING,
        applied=Act("kim", "go", NOW_MS - 3_000),
        tally=Tally(keys=3_000),
        counts={ReplayFate.APPLIED: 1_000, ReplayFate.DONE: 1_990, ReplayFate.REFUSED: 10},
    )
    called_off = replace(applied, state=JobState.CANCELLING, cancelled=Act("ana", "no", NOW_MS))
    overview = _overview(replays=(planned, applied, called_off))
    told = [" ".join(line.text.split()) for line in status_lines(overview)]
    assert told[-3:] == [
        "20260105-080000-ab12 planning 1 min ago 31 keys found by sam: a bad deploy",
        "20260105-080000-ab12 applying 3 s ago 2,000 of 3,000 keys through by kim: go",
        "20260105-080000-ab12 cancelling just now 2,000 of 3,000 keys through by ana: no",
    ]
    documents = json.loads(json.dumps(status_document(overview)))["replays"]
    assert documents[1] == {
        "id": "20260105-080000-ab12",
        "state": "applying",
        "by": "kim",
        "reason": "go",
        **as_json("since", NOW_MS - 3_000),
        "keys_found": 31,
        "keys_planned": 3_000,
        "keys_done": 2_000,
    }


@pytest.mark.parametrize(
    ("changes", "said", "how"),
    [
        ({"parked": 2, "parked_keys": (make.parked(),)}, "2 keys are parked", "keyturn key k"),
        ({"watchdog": None}, "the watchdog has made no pass yet: it should within two minutes", "keyturn doctor"),
        ({"watchdog": WatchdogPass(NOW_MS - 200_000, 0, 0, 0)}, "made no pass for 3 min 20 s", "keyturn doctor"),
        ({"quarantined": 1}, "1 record in quarantine", "keyturn quarantine list"),
        ({"dead_letters": 3}, "3 dead letters open", "keyturn deadletter list"),
        ({"held": 1}, "1 key held", "keyturn keys --phase held"),
        ({"lag_s": 301.0}, "the dispatcher is behind", "keyturn doctor"),
        (
            {"holds": (RouteHold("paid", True, "me", "why", 1, ()),)},
            "route paid is held",
            "keyturn release --route paid --reason WHY",
        ),
        (
            {"holds": (RouteHold("", True, "me", "why", 1, ()),)},
            "everything is held",
            "keyturn release --everything --reason WHY",
        ),
        (
            {"breakers": (Breaker("card", phase=BreakerPhase.OPEN, opened_at_ms=1, probe_at_ms=2, routes=("paid",)),)},
            "breaker card is open",
            "keyturn keys --phase held",
        ),
    ],
)
def test_what_needs_a_person_comes_with_its_command(changes: dict[str, object], said: str, how: str) -> None:
    overview = _overview(**changes)
    (advice,) = needs(overview)
    assert said in advice.what
    assert advice.command == how
    assert any(said in line.text and how in line.text for line in status_lines(overview))


def test_the_status_document_is_json() -> None:
    """With times as people and as programs read them."""
    overview = _overview(parked=1, parked_keys=(make.parked(),), oldest=Oldest("k", NOW_MS - 5))
    document = json.loads(json.dumps(status_document(overview)))
    assert document["oldest_unfinished"]["age_ms"] == 5
    assert document["parked_keys"][0]["since"] == "1970-01-01T00:16:40.000Z"

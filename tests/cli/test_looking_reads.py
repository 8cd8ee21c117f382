"""What the shell made of events, the read-only commands read back: on moto, without a scan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from keyturn_cli import keys
from keyturn_cli.errors import NotFound
from keyturn_cli.looking.fates import Fate
from keyturn_cli.looking.key_items import KeyItems
from keyturn_cli.looking.key_page import key_document, key_lines
from keyturn_cli.looking.listing import Page, read_page
from keyturn_cli.looking.overview import read_overview
from keyturn_cli.looking.queues import Listed
from keyturn_cli.looking.run_page import run_document, run_lines
from keyturn_cli.looking.runs import read_run
from keyturn_cli.looking.stack import StackReader
from keyturn_cli.looking.status_page import needs, status_lines
from keyturn_cli.looking.story import read_story
from keyturn_cli.options import Output

from keyturn.adapters.controls import HOLD_ROUTE, PARTITION
from keyturn.adapters.table import encode_item
from keyturn.core.commands import Operator
from keyturn.core.positions import Position
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source
from keyturn.core.replay_plan import Selection
from keyturn.core.state import Span
from keyturn.shell.operate import hold, skip
from keyturn.shell.replays import rewind_key
from tests.adapters.aws import refused
from tests.cli.looking import reader_of
from tests.core.states import at
from tests.shell.world import World, moto

OPERATOR = Operator("me", "I say so")


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test against moto; no call leaves this process."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with moto():
        yield


@pytest.fixture
def world() -> World:
    """A stack with three slots and two index buckets."""
    return World()


def _pages(reader: StackReader, phase: Listed | None, limit: int, route: str = "") -> list[Page]:
    pages = [read_page(reader, phase, limit=limit, route=route)]
    while pages[-1].after is not None:
        pages.append(read_page(reader, phase, limit=limit, route=route, after=pages[-1].after))
    return pages


def _busy(world: World, keys: int) -> None:
    for number in range(keys):
        world.put(f"key-{number}")
        world.now_ms += 10
        world.deliver()


def test_all_pages_together_are_all_keys_oldest_first(world: World) -> None:
    """However the pages are cut, over all buckets, each key once."""
    _busy(world, 12)
    for limit in (1, 2, 3, 8, 9, 50):
        pages = _pages(reader_of(world), Listed.WAITING, limit)
        found = [row.state.key for page in pages for row in page.rows]
        assert found == [f"key-{number}" for number in range(3, 12)]
        assert {len(page.rows) for page in pages[:-1]} <= {limit}
        assert all(page.rows for page in pages)


def test_keys_of_one_time_are_each_listed_once(world: World) -> None:
    """Runs of one minute stand at one time in the index: a token has more to go by."""
    for number in range(3):
        world.put(f"key-{number}")
    world.deliver()
    found = [row.state.key for page in _pages(reader_of(world), Listed.RUNNING, 1) for row in page.rows]
    assert sorted(found) == ["key-0", "key-1", "key-2"]


def test_a_key_that_left_meanwhile_takes_no_other_along(world: World) -> None:
    """The next page begins behind where it stood."""
    _busy(world, 8)
    reader = reader_of(world)
    first = read_page(reader, Listed.WAITING, limit=2)
    gone = first.rows[-1].state.key
    hold(world.platform, gone, OPERATOR)
    second = read_page(reader, Listed.WAITING, limit=50, after=first.after)
    assert [row.state.key for row in second.rows] == ["key-5", "key-6", "key-7"]


def test_a_listing_without_a_phase_has_all_that_isnt_idle(world: World) -> None:
    """Parked, held, running, waiting, and waiting for a try."""
    world.put("parks", inventory="permanent")
    world.put("done")
    world.put("held")
    world.settle()
    hold(world.platform, "held", OPERATOR)
    world.put("runs")
    world.deliver()
    assert {row.state.key for page in _pages(reader_of(world), None, 1) for row in page.rows} == {
        "parks",
        "held",
        "runs",
    }


def test_a_listing_can_be_of_one_route(world: World) -> None:
    """Of the run, or of what would run next."""
    for number in range(4):
        world.put(f"s-{number}")
        world.put(f"e-{number}", "express")
    world.deliver()
    found = [row.state.key for page in _pages(reader_of(world), None, 1, "express") for row in page.rows]
    assert sorted(found) == ["e-0", "e-1", "e-2", "e-3"]


def test_a_listing_says_when_a_route_is_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be one of another version, so the keys are looked for all the same."""
    monkeypatch.setattr(keys, "target_of", lambda *_options: None)
    monkeypatch.setattr(StackReader, "of", lambda _target: reader_of(world))
    keys.keys(route="payed")
    told = capsys.readouterr()
    assert told.out == "No key of route 'payed' is running, waiting, parked or held.\n"
    assert told.err.startswith(
        "This checkout has no route 'payed', only standard, express, nested, batch, skip, behind"
    )


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (Listed.RUNNING, "No key is running."),
        (Listed.WAITING, "No key waits for a slot."),
        (Listed.RETRY, "No key waits for its next attempt."),
        (Listed.PARKED, "No key is parked."),
        (Listed.HELD, "No key is held."),
        (None, "No key is running, waiting, parked or held."),
    ],
)
def test_a_phase_without_a_key_is_said_to_have_none(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    phase: Listed | None,
    said: str,
) -> None:
    """Nobody asked for a certain key, so none is missing."""
    world.put("done")
    world.settle()
    monkeypatch.setattr(keys, "target_of", lambda *_options: None)
    monkeypatch.setattr(StackReader, "of", lambda _target: reader_of(world))
    capsys.readouterr()  # whoever logs first in a process logs to where the output went then
    keys.keys(phase=phase)
    assert capsys.readouterr().out == said + "\n"


def test_keys_of_a_held_route_are_among_the_held(world: World) -> None:
    """They stand in a queue of their route's own."""
    world.platform.keys.table.put_many([_held_route("standard")])
    world.put("k")
    world.put("other", "express")
    world.deliver()
    (row,) = read_page(reader_of(world), Listed.HELD, limit=9).rows
    assert (row.state.key, row.route) == ("k", "standard")
    overview = read_overview(reader_of(world))
    assert (overview.held, overview.running) == (1, 1)
    assert [hold.route for hold in overview.holds] == ["standard"]


def _held_route(name: str) -> dict[str, Any]:
    told = {"by": "me", "reason": "why", "at_ms": 1, "status": "held", "is_held": True, "route": name}
    return {"pk": PARTITION, "sk": HOLD_ROUTE + name, **told}


def test_a_key_is_told_whole(world: World) -> None:
    """Its events with their fates, attempts, steps; duplicates; what people did."""
    world.put("k", event_id="first")
    world.settle()
    failing = world.put("k", inventory="fail")
    behind = world.put("k")
    world.put("k", event_id="first")
    world.settle()
    story = read_story(reader_of(world), "k", events=20)
    done, parked, waiting = story.events
    assert [told.fate for told in story.events] == [Fate.DONE, Fate.PARKED, Fate.WAITING]
    assert sorted(step.name for step in done.steps) == ["inventory", "payment"]
    assert [attempt.outcome for attempt in parked.attempts] == ["failed", "failed"]
    assert [step.name for step in parked.steps] == ["payment"]
    assert (parked.event.position, waiting.event.position) == (failing, behind)
    assert [one.of for one in story.duplicates] == [done.event.position]
    text = "\n".join(line.text for line in key_lines(story, results=False))
    assert "Key 'k' is parked since" in text
    assert "keyturn skip k --reason WHY" in text
    assert f"the story of one: keyturn trace {parked.event.flow_id} --key k" in text
    assert '{"did"' not in text
    assert '{"did": "payment"}' in "\n".join(line.text for line in key_lines(story, results=True))


def test_what_was_given_up_is_told_with_who_did_it(world: World) -> None:
    """A skip leaves a dead letter and an operation."""
    world.put("k", inventory="permanent")
    world.settle()
    skip(world.platform, "k", OPERATOR)
    story = read_story(reader_of(world), "k", events=20)
    assert [told.fate for told in story.events] == [Fate.DEAD_LETTERED]
    assert [(one.command, one.by, one.reason) for one in story.operations] == [("skip", "me", "I say so")]
    document = json.loads(json.dumps(key_document(story, results=True)))
    assert document["log"][0]["dead_letter"]["reason"] == "skipped by me: I say so"


def test_a_long_log_is_told_page_by_page(world: World) -> None:
    """The newest first; each page says where the one before begins."""
    positions = [world.put("k", "batch") for _ in range(8)]
    world.settle()
    reader = reader_of(world)
    found: list[str] = []
    before = ""
    while True:
        story = read_story(reader, "k", events=3, before=before)
        found = [told.event.position for told in story.events] + found
        assert all(told.steps for told in story.events)
        if story.older is None:
            break
        before = story.older
    assert found == positions


def test_an_attempt_that_began_before_the_page_is_told_with_it(world: World) -> None:
    """A run of several events, of which the page has the last."""
    for _ in range(3):
        world.put("k", "batch", inventory="permanent")
    world.settle()
    (told,) = read_story(reader_of(world), "k", events=1).events
    assert [attempt.count for attempt in told.attempts] == [3]


def test_a_key_nobody_knows_is_named(world: World) -> None:
    for read in (lambda: read_story(reader_of(world), "who\n", events=1), lambda: read_run(reader_of(world), "who\n")):
        with pytest.raises(NotFound, match=r"key 'who\\n' has never had an event in this stack \(a test\)"):
            read()


def test_a_run_is_the_one_under_way_else_the_last(world: World) -> None:
    """With its slice, and its attempt as far as it is known."""
    world.put("k")
    world.deliver()
    (execution,) = world.live()
    world.step(execution, "inventory")
    under_way = read_run(reader_of(world), "k")
    assert under_way.is_current
    assert [(one.outcome, one.execution_name) for one in under_way.attempts] == [("", execution.name)]
    assert under_way.statuses == {execution.name: "RUNNING"}
    world.run(execution)
    over = read_run(reader_of(world), "k")
    assert not over.is_current
    assert [(one.outcome, one.execution_name) for one in over.attempts] == [("succeeded", execution.name)]
    assert over.statuses == {execution.name: "SUCCEEDED"}
    text = [line.text for line in run_lines(over, results=True)]
    assert any("it is over" in line for line in text)
    json.dumps(run_document(over, results=True))


def test_a_run_is_found_by_any_position_in_it_and_by_its_executions_name(world: World) -> None:
    """Also one that simply succeeded, and so left no attempt record: its steps tell its slice. Also by the name that
    was never started, since the execution of the run before went on with it."""
    positions = [world.put("k", "batch") for _ in range(7)]
    world.settle()
    reader = reader_of(world)
    runs = {tuple(event.position for event in read_run(reader, "k", place).events) for place in positions}
    assert sorted(place for run in runs for place in run) == positions
    (execution,) = world.states.executions
    for header in execution.runs:
        name = f"{execution.name.removesuffix('-1')}-{header['fence']}"
        run = read_run(reader, "k", name)
        assert run.events[0].position == header["first"]
        assert len(run.events) == header["count"]
        assert [one.execution_name for one in run.attempts] == [name]
        assert run.statuses == {}, "Express can't be asked"


def test_a_run_tells_each_attempt_with_its_reason(world: World) -> None:
    """And what Step Functions says of it: an execution that reports a failure succeeds."""
    position = world.put("k", inventory="fail")
    world.put("k")
    world.settle()
    run = read_run(reader_of(world), "k", position.split("-")[1].lstrip("0"))
    assert [(one.number, one.outcome) for one in run.attempts] == [(1, "failed"), (2, "failed")]
    text = "\n".join(line.text for line in run_lines(run, results=False))
    assert "it failed, and the key is parked: inventory: StepFailed" in text
    assert text.count(": SUCCEEDED, since it reported the failure itself") == 2


def test_an_attempt_that_was_found_dead_says_how(world: World) -> None:
    """What the watchdog had for evidence, in words."""
    world.put("k")
    world.deliver()
    (execution,) = world.live()
    world.step(execution, "inventory")
    world.fail(execution, "ABORTED")
    world.ask_watchdog(world.status_change(execution))
    story = read_run(reader_of(world), "k")
    text = "\n".join(line.text for line in run_lines(story, results=False))
    assert "attempt 1 (fence 1) failed after" in text
    assert "its execution ended without reporting" in text
    assert f"execution {execution.name}: ABORTED" in text
    assert "it failed, and will be tried again: attempt 2 may begin in" in text


def test_who_may_not_ask_step_functions_still_sees_the_rest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("k")
    world.settle()

    monkeypatch.setattr(
        world.states, "describe_execution", lambda **call: refused("AccessDeniedException")(None, **call)
    )
    run = read_run(reader_of(world), "k")
    assert "can't be asked: describing execution" in "".join(run.statuses.values())
    assert run.steps


def test_a_run_nobody_knows_is_named(world: World) -> None:
    """Each way that it can't be one."""
    world.put("k", inventory="permanent")
    world.put("k")
    world.settle()
    for which, said in (
        ("99", "has no event at"),
        ("2", "has not run yet"),
        ("order-1-abc-1", "neither a position nor an execution of key 'k'"),
        ("nonsense", "neither a position nor an execution of key 'k'"),
    ):
        with pytest.raises(NotFound, match=said):
            read_run(reader_of(world), "k", which)


def test_an_execution_of_the_key_that_left_no_trace_is_named(world: World) -> None:
    """Its number was never reached."""
    world.put("k")
    world.settle()
    name = world.states.executions[0].name.rpartition("-")[0] + "-77"
    with pytest.raises(NotFound, match="name its position instead"):
        read_run(reader_of(world), "k", name)


def test_a_key_that_never_ran_has_no_run(world: World) -> None:
    """Its first event waits, and is told as waiting."""
    world.platform.keys.table.put_many([_held_route("standard")])
    world.put("k")
    world.deliver()
    with pytest.raises(NotFound, match="has not run anything yet: see keyturn key k"):
        read_run(reader_of(world), "k")
    assert [told.fate for told in read_story(reader_of(world), "k", events=5).events] == [Fate.WAITING]
    before = key_lines(read_story(reader_of(world), "k", events=5, before=at(1)), results=False)
    assert any(line.text == "Log: no events before that position" for line in before)


def test_the_overview_counts_every_queue_and_finds_the_oldest(world: World) -> None:
    """By COUNT over the index's buckets; its states are read consistently."""
    began_ms = world.now_ms
    world.put("parks", inventory="permanent")
    world.put("held")
    world.settle()
    hold(world.platform, "held", OPERATOR)
    _busy(world, 5)
    overview = read_overview(reader_of(world))
    assert overview.running == len(world.live())
    assert (overview.running + overview.waiting, overview.retry, overview.parked, overview.held) == (5, 0, 1, 1)
    assert (overview.cap, overview.lag_s) == (3, None)
    assert overview.oldest is not None
    assert (overview.oldest.key, overview.oldest.arrived_at_ms) == ("parks", began_ms)
    assert [state.key for state in overview.parked_keys] == ["parks"]
    assert [state.key for state in overview.held_keys] == ["held"]


def test_the_overview_has_the_replays_under_way_and_no_others(world: World) -> None:
    """One that waits to be applied, or is over, isn't."""
    asked = Act("me", "why", world.now_ms)
    for state in JobState:
        world.platform.replays.create(ReplayJob(state, state, Source.SCAN, Selection(), asked))
    found = [job.state for job in read_overview(reader_of(world)).replays]
    assert sorted(found) == [JobState.APPLYING, JobState.CANCELLING, JobState.PLANNING]


def test_the_overview_knows_when_the_watchdog_came(world: World) -> None:
    assert read_overview(reader_of(world)).watchdog is None
    at_ms = world.now_ms
    world.watch()
    last = read_overview(reader_of(world)).watchdog
    assert last is not None
    assert at_ms <= last.at_ms <= world.now_ms


def test_nothing_is_ever_scanned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command reads the index, one key's partition, or single items."""
    world.put("k")
    world.settle()
    reader = reader_of(world)
    calls: set[str] = set()
    make = type(reader.table.client).__getattr__

    def noted(self: Any, name: str) -> Any:
        calls.add(name)
        return make(self, name)

    monkeypatch.setattr(type(reader.table.client), "__getattr__", noted)
    read_overview(reader)
    read_page(reader, None, limit=5)
    read_story(reader, "k", events=5)
    read_run(reader, "k")
    assert calls <= {"query", "get_item", "batch_get_item"}, calls
    assert "query" in calls


def _of_tomorrow(world: World, key: str) -> None:
    """Have a later version write a key's state."""
    (item,) = world.items(f"key#{key}", "state")
    later = encode_item(item | {"phase": "hibernating"})
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=later)


def test_a_key_that_cannot_be_read_hides_no_other(world: World) -> None:
    """It is told by name; the stack, and all its other keys, are shown."""
    _busy(world, 12)
    for key in ("key-0", "key-5"):
        _of_tomorrow(world, key)
    pages = _pages(reader_of(world), None, 4)
    listed = {row.state.key for page in pages for row in page.rows}
    assert listed == {f"key-{one}" for one in range(12)} - {"key-0", "key-5"}
    assert sorted(key for page in pages for key in page.unreadable) == ["key-0", "key-5"]
    overview = read_overview(reader_of(world))
    assert (overview.running, overview.waiting, overview.unreadable) == (3, 9, ("key-0", "key-5"))
    (advice,) = [one for one in needs(overview) if "read" in one.what]
    assert advice.what == "2 keys can't be read by this version: look from the one that is deployed"
    assert advice.command == "keyturn key key-0"


def test_a_key_that_cannot_be_read_is_told_below_the_list(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list without it must not look whole."""
    _busy(world, 2)
    _of_tomorrow(world, "key-1")
    monkeypatch.setattr(keys, "target_of", lambda *_options: None)
    monkeypatch.setattr(StackReader, "of", lambda _target: reader_of(world))
    capsys.readouterr()
    keys.keys()
    told = capsys.readouterr()
    assert "'key-0'" in told.out
    assert told.err == "1 key can't be read by this version: 'key-1'. Look from the version that is deployed.\n"
    keys.keys(output=Output.JSON)
    assert json.loads(capsys.readouterr().out)["unreadable"] == ["key-1"]


def test_a_parked_key_without_a_run_is_listed_as_parked_though_it_is_held(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Releasing it alone would do nothing: it needs to be resumed."""
    world.put("k", "behind", inventory="permanent")
    world.settle()
    hold(world.platform, "k", OPERATOR)
    monkeypatch.setattr(keys, "target_of", lambda *_options: None)
    monkeypatch.setattr(StackReader, "of", lambda _target: reader_of(world))
    capsys.readouterr()
    keys.keys(phase=Listed.PARKED, output=Output.JSON)
    (row,) = json.loads(capsys.readouterr().out)["keys"]
    assert (row["run"], row["hold"]["by"], row["listed"]) == (None, "me", "parked")


def test_the_last_run_of_a_key_whose_replay_waits_is_the_one_before_it(world: World) -> None:
    """Its cursor stands where no event is: before the first that is to run again."""
    for number in range(3):
        last = world.put("k", event_id=str(number))
    world.settle()
    world.platform.keys.table.put_many([_held_route("standard")])
    world.now_ms += 2_000
    second = Position(KeyItems(world.platform.keys.table, "k").newest_events(2)[0].position)
    rewind_key(world.platform, "k", [Span(second, second)], OPERATOR, replay="r", is_new_generation=True)
    (event,) = read_run(reader_of(world), "k").events
    assert event.position == last


def test_an_event_that_has_left_the_log_is_said_to_be_gone(world: World) -> None:
    """A key outlives its events: nobody should look for a mistake in the command."""
    world.put("k")
    world.settle()
    (item,) = world.items("key#k", "event#")
    world.dynamodb.delete_item(
        TableName=world.settings.state_table, Key={name: {"S": item[name]} for name in ("pk", "sk")}
    )
    page = [line.text for line in key_lines(read_story(reader_of(world), "k", events=20), results=False)]
    assert "Log: no events any more, their time to live has ended" in page
    with pytest.raises(NotFound, match=r"has no event at .* any more, if it ever had: finished ones leave the log"):
        read_run(reader_of(world), "k")


def test_the_oldest_event_is_told_as_one_of_those_that_were_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long queue isn't read to its end: behind its head a key may have an older event."""
    _busy(world, 12)
    told = [line.text for line in status_lines(read_overview(reader_of(world)))]
    assert any("oldest unfinished event  " in line for line in told)
    monkeypatch.setattr("keyturn_cli.looking.overview._HEADS", 2)
    told = [line.text for line in status_lines(read_overview(reader_of(world)))]
    assert any("oldest unfinished event, of 4 keys looked at  " in line for line in told)

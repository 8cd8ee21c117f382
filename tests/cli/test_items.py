"""`keyturn quarantine` and `keyturn deadletter`, whole: the commands over a small stack on moto."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from keyturn_cli import app
from keyturn_cli.items import deadletter, quarantine
from keyturn_cli.items.bulk import PAGE
from keyturn_cli.items.dump import readable
from keyturn_cli.operator import operate

from keyturn.adapters.open_items import Kind, id_of
from keyturn.core.state import Phase
from keyturn.shell.operator_requests import answer
from tests.shell.test_open_items import deploy, event, heal
from tests.shell.world import World, moto


@dataclass
class Lambda:
    """The operator function, invoked in this process."""

    world: World
    fails_at: int = 0
    calls: int = 0

    def invoke(self, **call: Any) -> Any:
        """Answer as Lambda does, by way of JSON."""
        self.calls += 1
        if self.calls == self.fails_at:
            return {"FunctionError": "Unhandled", "Payload": BytesIO(b'{"errorMessage": "timed out"}')}
        told = answer(self.world.platform, json.loads(call["Payload"]))
        return {"Payload": BytesIO(json.dumps(told).encode())}


@dataclass
class Target:
    """A deployed stack as the commands see it."""

    world: World
    operator: Lambda
    is_local: bool = True
    where: str = "here"

    @property
    def outputs(self) -> Any:
        """The stack's outputs."""
        settings = self.world.settings
        return SimpleNamespace(
            state_table_name=settings.state_table,
            payload_bucket_name=settings.payload_bucket,
            operator_function_name="operator",
        )

    @property
    def environment(self) -> dict[str, str]:
        """The functions' settings."""
        return {"INDEX_BUCKETS": str(self.world.settings.index_buckets)}

    def client(self, service: str) -> Any:
        """A client of moto."""
        return self.world.client(service)

    def patient_client(self, _service: str, _read_timeout_s: int) -> Any:
        """The operator function's."""
        return self.operator


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    logging.disable()  # the functions' own lines, which would else stand among the command's
    with moto():
        yield World()
    logging.disable(logging.NOTSET)


@pytest.fixture
def operator(world: World) -> Lambda:
    return Lambda(world)


@pytest.fixture
def keyturn(world: World, operator: Lambda, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; return exit code, stdout and stderr."""
    for module in (quarantine, deadletter):
        monkeypatch.setattr(module, "target_of", lambda *_: Target(world, operator))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keyturn", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.run()
        said = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return run


def fill(world: World, *keys: str) -> list[str]:
    """Put a record of an unknown type for each key; return their IDs, the oldest first."""
    for number, key in enumerate(keys, start=1):
        world.put_raw(key, event(number), f"q-{number}")
        world.now_ms += 10
    world.settle()
    return ids(world)


def ids(world: World, kind: Kind = Kind.QUARANTINE) -> list[str]:
    return [id_of((entry.pk, entry.sk)) for entry in world.platform.open_items.listed(kind)]


REDRIVE = ("quarantine", "redrive", "--because", "mended", "--yes")
DISCARD = ("quarantine", "discard", "--because", "a test", "--yes")


class TestQuarantine:
    def test_a_list_shows_what_is_open_and_what_to_type_next(self, world: World, keyturn: Run) -> None:
        """Key, reason and what is wrong: never what it holds."""
        first, *_ = fill(world, "a", "b")
        code, out, _ = keyturn("quarantine", "list")
        assert code == 0
        assert first in out
        assert "unknown_type" in out
        assert "2 quarantined records open." in out
        assert f"keyturn quarantine show {first}" in out
        assert "specversion" not in out

    def test_an_item_is_one_line_however_narrow_the_terminal(
        self, world: World, keyturn: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in every other list, so that it can be searched by line."""
        first, *_ = fill(world, "k" * 100)
        monkeypatch.setenv("COLUMNS", "40")
        _, out, _ = keyturn("quarantine", "list")
        (line,) = (line for line in out.splitlines() if line.startswith(first))
        assert "k" * 100 in line
        assert "unknown_type" in line

    def test_a_key_that_a_terminal_would_obey_is_shown_escaped(self, world: World, keyturn: Run) -> None:
        """In the list, in the item and in JSON, which is the same document as ever."""
        key = "\x1b]0;title\x07\x9b31m\u202e"
        first, *_ = fill(world, key)
        for words in (["list"], ["show", first], ["show", first, "--data"], ["show", first, "--output", "json"]):
            code, out, _ = keyturn("quarantine", *words)
            assert code == 0
            assert out.replace("\n", "").isprintable()
        assert json.loads(out)["key"] == key

    def test_pages_follow_one_another(self, world: World, keyturn: Run) -> None:
        every = fill(world, *"abcde")
        seen: list[str] = []
        after: list[str] = []
        while True:
            _, out, _ = keyturn("quarantine", "list", "--limit", "2", "--output", "json", *after)
            page = json.loads(out)
            seen += [item["id"] for item in page["items"]]
            if page["after"] is None:
                break
            after = ["--after", page["after"]]
        assert seen == every

    def test_a_list_keeps_to_a_reason(self, world: World, keyturn: Run) -> None:
        fill(world, "a")
        world.put_raw("b", b"nonsense")
        world.settle()
        _, out, _ = keyturn("quarantine", "list", "--reason", "not_json", "--output", "json")
        assert [item["key"] for item in json.loads(out)["items"]] == ["b"]

    def test_an_empty_quarantine_says_so(self, keyturn: Run) -> None:
        assert keyturn("quarantine", "list")[:2] == (0, "0 quarantined records open.\n")

    def test_what_it_holds_is_shown_on_request_only(self, world: World, keyturn: Run) -> None:
        """JSON laid out; a large one from the payload bucket."""
        (id_,) = fill(world, "a")
        assert "specversion" not in keyturn("quarantine", "show", id_)[1]
        assert '  "specversion": "1.0"' in keyturn("quarantine", "show", id_, "--data")[1]
        world.put_raw("b", b"\x00\xff" * 150_000)
        world.settle()
        assert "00000010  00 ff 00 ff" in keyturn("quarantine", "show", ids(world)[1], "--data")[1]

    def test_after_the_schema_is_mended_all_of_a_reason_go_again(self, world: World, keyturn: Run) -> None:
        """More than one invocation takes, page by page."""
        fill(world, *(f"k{number % 20}" for number in range(PAGE + 9)))
        deploy(world)
        code, out, err = keyturn(*REDRIVE, "--reason", "unknown_type")
        assert (code, out, err) == (0, f"{PAGE + 9} quarantined records redriven.\n", "")
        assert not ids(world)
        world.settle()
        world.check()
        assert sum(state.finished for state in world.key_states().values()) == PAGE + 9

    def test_what_is_still_bad_is_named_and_left(self, world: World, keyturn: Run) -> None:
        good, bad, _ = fill(world, "a", "b", "c")
        deploy(world)
        world.put_raw("d", b"nonsense")
        world.settle()
        code, out, err = keyturn(*REDRIVE, "--all")
        assert code == 1
        assert "3 quarantined records redriven." in out
        assert "1 left, since they would go wrong again:" in out
        assert f"  {ids(world)[0]}  not_json:" in out
        assert err == "Error: 1 of 4 quarantined records were not redriven\n"
        assert good not in ids(world)
        assert bad not in ids(world)

    def test_a_run_that_broke_off_goes_on_when_repeated(self, world: World, operator: Lambda, keyturn: Run) -> None:
        """What was done is done."""
        fill(world, *(f"k{number}" for number in range(PAGE + 5)))
        deploy(world)
        operator.fails_at = 2
        code, out, err = keyturn(*REDRIVE, "--all")
        assert (code, out.splitlines()[0]) == (1, f"{PAGE} quarantined records redriven.")
        assert "timed out" in err
        assert "Repeat the command to go on" in err
        assert keyturn(*REDRIVE, "--all")[:2] == (0, "5 quarantined records redriven.\n")
        world.settle()
        assert sum(state.finished for state in world.key_states().values()) == PAGE + 5

    def test_programs_get_the_fate_of_each(self, world: World, keyturn: Run) -> None:
        (id_,) = fill(world, "a")
        code, out, _ = keyturn(*REDRIVE, id_, "--output", "json")
        told = json.loads(out)
        assert (code, told["left"], told["items"][0]["id"], told["items"][0]["fate"]) == (1, 1, id_, "left")

    def test_force_puts_what_is_still_bad(self, world: World, keyturn: Run) -> None:
        (id_,) = fill(world, "a")
        assert keyturn(*REDRIVE, id_, "--force")[0] == 0
        world.settle()
        assert len(ids(world)) == 1
        assert ids(world) != [id_]

    def test_discarded_ones_leave_the_list_and_can_be_shown(self, world: World, keyturn: Run) -> None:
        (id_,) = fill(world, "a")
        assert keyturn(*DISCARD, id_)[:2] == (0, "1 quarantined record discarded.\n")
        assert keyturn("quarantine", "list")[1] == "0 quarantined records open.\n"
        assert "a test" in keyturn("quarantine", "show", id_)[1]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((*REDRIVE, "20260105-nosuchid"), "no quarantined record has the ID '20260105-nosuchid'"),
            (("quarantine", "show", "x"), "no quarantined record has the ID 'x'"),
            ((*REDRIVE, "--reason", "nope"), "--reason 'nope' is none of quarantine's: not_base64, key"),
            ((*REDRIVE, "--reason", "late"), "no open quarantined record has the reason 'late'"),
            (REDRIVE, "say which quarantined records: their IDs, or --reason, or --all"),
            ((*REDRIVE, "--all", "--reason", "data"), "say which quarantined records"),
            ((*DISCARD[:2], "--all", "--because", " ", "--yes"), "--because must have 1 to 500 characters"),
            ((*DISCARD[:-1], "--all"), "Nobody can be asked here: say --yes. Nothing was changed"),
            (("quarantine", "list", "--after", "x!"), "--after 'x!' is not what a list printed"),
            (("deadletter", "redrive", "--all", "--because", "b", "--yes"), "no dead letter is open"),
        ],
    )
    def test_a_mistake_is_one_line_and_changes_nothing(
        self, world: World, keyturn: Run, arguments: tuple[str, ...], said: str
    ) -> None:
        fill(world, "a")
        before = world.items()
        code, out, err = keyturn(*arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
        assert world.items() == before

    @pytest.mark.parametrize("again", [REDRIVE, DISCARD])
    def test_what_was_closed_once_is_refused(self, world: World, keyturn: Run, again: tuple[str, ...]) -> None:
        """With all that was asked for together with it."""
        first, second = fill(world, "a", "b")
        keyturn(*DISCARD, first)
        code, out, err = keyturn(*again, first, second)
        assert (code, out) == (1, "")
        assert err.startswith(f"Error: {first} was discarded already, by ")
        assert ids(world) == [second]

    def test_of_two_operators_at_once_one_is_refused(self, world: World, operator: Lambda, keyturn: Run) -> None:
        """Both found it open; the second one's request comes when the first is at it."""
        (id_,) = fill(world, "a")
        deploy(world)
        real = operator.invoke

        def beaten(**call: Any) -> Any:
            operator.invoke = real  # type: ignore[method-assign]
            places = json.loads(call["Payload"])["places"]
            operate(Target(world, operator), "discard", "mine", places=places)  # type: ignore[arg-type]
            return real(**call)

        operator.invoke = beaten  # type: ignore[method-assign]
        code, _, err = keyturn(*REDRIVE, id_)
        assert code == 1
        assert f"{id_} was discarded already" in err
        assert world.checkpoint == len(world.records) == 1


class TestDeadLetters:
    def fill(self, world: World) -> str:
        world.put("k", "skip", payment="permanent")
        world.settle()
        (id_,) = ids(world, Kind.DEAD_LETTER)
        return id_

    def test_it_is_listed_shown_and_run_again(self, world: World, keyturn: Run) -> None:
        id_ = self.fill(world)
        assert id_ in keyturn("deadletter", "list", "--reason", "NO SUCH card")[1]
        assert "0 lines" not in keyturn("deadletter", "show", id_)[1]
        shown = json.loads(keyturn("deadletter", "show", id_, "--data", "--output", "json")[1])
        assert (shown["key"], shown["key is"], json.loads(shown["data"])["id"]) == ("k", "idle", "e-1")
        done = heal(world)
        code, out, _ = keyturn("deadletter", "redrive", id_, "--because", "mended", "--yes")
        assert (code, out) == (0, "1 dead letter redriven.\n")
        world.settle()
        assert done == [("e-1", "payment")]

    def test_a_parked_key_is_refused_with_a_line(self, world: World, keyturn: Run) -> None:
        id_ = self.fill(world)
        world.put("k", "standard", payment="permanent")
        world.settle()
        assert world.state("k").phase is Phase.PARKED
        code, _, err = keyturn("deadletter", "redrive", id_, "--because", "mended", "--yes")
        assert (code, err) == (1, "Error: key 'k' is parked: resume or skip it first. It was not redriven\n")

    def test_discarded_by_what_its_reason_holds(self, world: World, keyturn: Run) -> None:
        self.fill(world)
        done = keyturn("deadletter", "discard", "--reason", "no such card", "--because", "refunded", "--yes")
        assert done[:2] == (0, "1 dead letter discarded.\n")
        assert not ids(world, Kind.DEAD_LETTER)


def test_bytes_that_are_no_json_are_dumped_in_hex() -> None:
    assert readable(b"caf\xe9 \x00") == "00000000  63 61 66 e9 20 00                                caf. ."

"""What the shell offers for a key: the parked ones, and silence when anything is amiss."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from keyturn_cli import completion
from keyturn_cli.app import app
from keyturn_cli.looking.stack import StackReader

from keyturn.errors import StoreError
from tests.cli.looking import reader_of
from tests.shell.world import World, moto


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test against moto; no call leaves this process."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
    with moto():
        yield


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> typer.Context:
    """The line that is being typed; nothing but the reader of its stack is replaced."""
    monkeypatch.setattr(completion, "target_of", lambda *_options: None)
    return typer.Context(typer.main.get_command(app), info_name="keyturn")


def test_parked_keys_are_offered_that_a_shell_takes_as_they_are(
    context: typer.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that must be quoted would be taken apart."""
    world = World()
    for key in ("order-2", "order-1", "order 3", "other"):
        world.put(key, inventory="permanent")
    world.put("order-4")
    world.settle()
    monkeypatch.setattr(StackReader, "of", lambda _target: reader_of(world))
    assert sorted(completion.parked_keys(context, "order")) == ["order-1", "order-2"]
    assert completion.parked_keys(context, "nothing") == []


def test_nothing_is_offered_when_the_stack_cannot_be_read(
    context: typer.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is said."""

    def refuse(_target: object) -> StackReader:
        raise StoreError("refused")

    monkeypatch.setattr(StackReader, "of", refuse)
    assert completion.parked_keys(context, "") == []

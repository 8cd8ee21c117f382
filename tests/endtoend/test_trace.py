"""`keyturn trace` on the deployed stack: as a user calls it, from the table and the logs that the functions wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from keyturn_cli.operator import operate

from keyturn.core.state import Phase
from tests.endtoend.stack import LIMIT_S, Stack
from tests.endtoend.test_stack import SECRET, STEPS, permit

PROJECT = Path(__file__).parents[2]


def shop(key: str, **demo: str) -> bytes:
    """Write an order's first event; a worker misbehaves as `demo` says."""
    data = {"order_id": key, "sequence": 0, "lines": [{"sku": "tea", "quantity": 1}], "total_cents": 5, "demo": demo}
    event = {"specversion": "1.0", "id": f"{key}/0", "source": "/shop/trace", "type": "shop.order.placed"}
    return json.dumps(event | {"time": "2026-01-05T08:00:00Z", "data": data}).encode()


def keyturn(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in the stack's project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEYTURN_"))}
    path = os.pathsep.join(str(PROJECT / name) for name in ("src", "cli"))
    return subprocess.run(
        [sys.executable, "-m", "keyturn_cli.main", *arguments],
        cwd=stack.settings.root,
        env=kept | {"PYTHONPATH": path, "KEYTURN_PORT": str(stack.settings.port), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def traced(stack: Stack, *arguments: str) -> dict[str, Any]:
    """Trace an event; return its story."""
    done = keyturn(stack, "trace", *arguments, "--output", "json")
    assert done.returncode == 0, done.stderr
    story: dict[str, Any] = json.loads(done.stdout)
    return story


def whats(story: dict[str, Any]) -> list[str]:
    return [moment["what"] for moment in story["moments"]]


def waits(story: dict[str, Any]) -> list[str]:
    return [gap["wait"] for gap in story["gaps"]]


def until_parked(stack: Stack, key: str) -> None:
    """Wait until a key is parked."""
    stack.until(lambda: stack.state(key).phase is Phase.PARKED, lambda: stack.state(key))


def traced_with_lines_of(stack: Stack, services: set[str], *words: str) -> dict[str, Any]:
    """Trace once these functions' lines can be found: logs appear a moment after what they tell of."""

    def lines() -> set[str]:
        return {line["service"] for line in traced(stack, *words)["lines"]}

    stack.until(lambda: services <= lines(), lines)
    return traced(stack, *words)


def test_an_event_that_simply_worked_is_traced_by_any_of_its_names(stack: Stack) -> None:
    """From put to done, each step, the lines of all functions, and nothing of its data."""
    stack.follow(stack.put([("trace-fine", permit("trace-fine"))]))
    story = traced_with_lines_of(stack, {"sequencer", *STEPS}, "trace-fine-0", "--key", "trace-fine")
    moments = whats(story)
    assert (moments[:2], moments[-1], story["standing"]) == (["put", "admitted"], "done", "Done.")
    assert sorted({step["name"] for step in story["steps"]}) == STEPS
    assert {"queue", "start and cold start", "step"} <= set(waits(story))
    flow_id = story["subject"]["flow_id"]
    for names in ([flow_id], ["trace-fine-0", "--source", "/permits"], [flow_id, "--key", "trace-fine"]):
        assert traced(stack, *names)["moments"] == story["moments"]
    assert SECRET not in json.dumps(story)


def test_failed_attempts_show_why_and_what_it_cost(stack: Stack, tmp_path: Path) -> None:
    """A worker hangs once: its attempt leaves no result, the next one waits until no worker can be at work."""
    stack.follow(stack.put([("trace-hangs", shop("trace-hangs", inventory="hang"))]))
    page = tmp_path / "story.html"
    done = keyturn(stack, "trace", "trace-hangs/0", "--key", "trace-hangs", "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert "retry (backoff)" in done.stdout
    story = traced(stack, "trace-hangs/0", "--key", "trace-hangs")
    assert [attempt["outcome"] for attempt in story["attempts"]] == ["failed", "succeeded"]
    assert "inventory" in story["attempts"][0]["reason"]
    assert whats(story)[0] == "produced"
    assert "<svg" in page.read_text(encoding="utf-8")


def test_a_parked_and_resumed_event_tells_who_resumed_it_and_why(stack: Stack) -> None:
    """And how long it was parked."""
    puts = stack.put([("trace-parks", shop("trace-parks", payment="permanent"))])
    stack.follow(puts)
    until_parked(stack, "trace-parks")
    waiting = traced(stack, "trace-parks/0", "--key", "trace-parks")
    assert waiting["standing"].startswith("Parked since")
    assert (waits(waiting)[-1], waiting["gaps"][-1]["is_open"]) == ("parked", True)
    operate(stack.target, "resume", "card service is back", key="trace-parks")
    stack.follow(puts)
    until_parked(stack, "trace-parks")
    story = traced(stack, "trace-parks/0", "--key", "trace-parks")
    moments = whats(story)
    assert (moments.count("parked"), "parked" in waits(story)) == (2, True)
    assert any("card service is back" in moment["text"] for moment in story["moments"])


def test_a_resent_event_and_one_in_quarantine_have_stories_too(stack: Stack) -> None:
    broken = json.dumps(
        {"specversion": "1.0", "id": "trace-bad", "source": "/shop", "type": "shop.order.paid"}
    ).encode()
    event = permit("trace-again")
    stack.follow(stack.put([("trace-again", event), ("trace-again", event), ("trace-again", broken)]))
    assert "duplicate" in whats(traced(stack, "trace-again-0", "--key", "trace-again"))
    assert traced(stack, "trace-bad")["standing"].startswith("In quarantine as data")


def test_an_event_that_nobody_knows_is_told_in_one_line(stack: Stack) -> None:
    """With what else could be said; a scan of the table is asked for, never done by itself."""
    for arguments, says in (
        (["nobody", "--key", "trace-fine"], "neither in the key's log nor in quarantine"),
        (["nobody"], "say --key"),
        (["nobody", "--scan"], "Nobody can be asked here: say --yes"),
        (["nobody", "--scan", "--yes"], "no event of the table"),
    ):
        done = keyturn(stack, "trace", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
        assert says in done.stderr

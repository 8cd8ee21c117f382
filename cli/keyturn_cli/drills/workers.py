"""Drills about workers that hang, die, or wake up when their turn is over."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Final

from keyturn_local.lambdas import kill_lambdas

from keyturn.adapters.schemas import load_routes
from keyturn.core.state import KeyState
from keyturn_cli.drills.drill import Drill
from keyturn_cli.drills.events import cancelled, paid
from keyturn_cli.drills.executions import Execution, execution_of
from keyturn_cli.drills.ground import Ask, Ground
from keyturn_cli.facts import Facts
from keyturn_cli.guarantees import Effect
from keyturn_cli.report import Check

_STEPS: Final = ("inventory", "payment", "notification")


def _at_work(ground: Ground, step: str) -> Execution:
    """Wait until a worker is in the middle of a step of the drill's first key; the execution that it works for."""
    ground.until(f"a worker is at work at {step}", lambda: ground.tries().get(step))
    return ground.until("the attempt is bound to its execution", lambda: execution_of(ground))


def _wake_zombies(ground: Ground) -> None:
    """Give an attempt up while its worker works, and let its worker and its sequencer come once more, too late."""
    key = ground.key()
    ground.put(
        *(Ask(key, paid(key, number, payment="slow")) for number in range(2)),
        Ask(key, paid(key, 2)),
    )
    old = _at_work(ground, "payment")
    ground.notes |= {"fence": old.fence, "aborted": time.time_ns() // 1_000_000}
    old.abort()
    ground.see(f"execution of attempt {old.fence} aborted while payment was at work")
    replaced = ground.until("a new attempt has begun", lambda: _replaced(ground, old))
    ground.notes |= {"allowed": replaced.not_before_ms, "began": replaced.run.started_at_ms if replaced.run else 0}
    ground.until("the next event's worker is at work", lambda: _next_is_at_work(ground, old))
    _come_too_late(ground, old)
    ground.until("all is through", lambda: not ground.left())
    before = ground.state()
    _come_too_late(ground, old)
    ground.notes["changed"] = ground.state() != before


def _replaced(ground: Ground, old: Execution) -> KeyState | None:
    """The key's state once another attempt has begun; None while none has."""
    state = ground.state()
    return state if state.run is not None and state.fence > old.fence else None


def _next_is_at_work(ground: Ground, old: Execution) -> bool:
    """Whether a run behind the old one's is bound to its execution."""
    state = ground.state()
    return state.run is not None and bool(state.run.execution_id) and state.cursor >= old.last


def _come_too_late(ground: Ground, old: Execution) -> None:
    """Call every worker and the sequencer as the old attempt did, as a delayed delivery would."""
    answers = [ground.invoke(name, old.task(step)) for step, name in zip(_STEPS, _workers(ground), strict=True)]
    ground.notes.setdefault("answers", []).extend(json.dumps(answer) for answer in answers)
    finish = {"run": old.input["run"], "steps": [old.done(step) for step in _STEPS]}
    ground.notes.setdefault("finishes", []).append(ground.invoke(ground.target.outputs.sequencer_function_name, finish))


def _workers(ground: Ground) -> list[str]:
    return [f"{ground.target.stack_name}-{step}" for step in _STEPS]


def _zombies_changed_nothing(ground: Ground, facts: Facts) -> Sequence[Check]:
    refused = sum('"refused"' in answer for answer in ground.notes["answers"])
    finishes = [finish["refusal"] for finish in ground.notes["finishes"]]
    holds = refused == len(ground.notes["answers"]) and all(finishes) and not ground.notes["changed"]
    told = (
        f"{refused} of {len(ground.notes['answers'])} late workers refused, {sum(map(bool, finishes))} of"
        f" {len(finishes)} late finishes ({finishes[0]}); the key state is {'not ' if ground.notes['changed'] else ''}"
        "the same"
    )
    return [Check("zombies change nothing", holds, (told,)), _waited(ground, facts)]


def _waited(ground: Ground, facts: Facts) -> Check:
    """Whether the next attempt began only when no worker of the old one could be at work any more."""
    route = load_routes().for_type("shop.order.paid")
    longest_ms = route.worker_timeout_s * 1000 if route else 0
    allowed_ms, began_ms = (ground.notes[name] - ground.notes["aborted"] for name in ("allowed", "began"))
    late = [effect for effect in facts.history.effects if effect.fence == ground.notes["fence"]]
    last_ms = max((effect.ended_at_ms for effect in late), default=0) - ground.notes["aborted"]
    told = (
        f"allowed {allowed_ms} ms after the old one was aborted, begun after {began_ms} ms; the old one's last effect"
        f" came after {last_ms} ms, its workers may take {longest_ms} ms"
    )
    return Check("the next attempt waited", longest_ms <= allowed_ms <= began_ms, (told,))


def _hang(ground: Ground) -> None:
    """Let a worker hang until its Lambda's timeout, beside one whose tries are counted."""
    key = ground.key()
    ground.put(
        Ask(key, cancelled(key, inventory="hang", payment="slow")),
        *(Ask(key, cancelled(key, number)) for number in range(1, 3)),
    )


def _hung_was_replaced(ground: Ground, facts: Facts) -> Sequence[Check]:
    effect = _effect(facts, "inventory")
    attempts = ground.attempts()
    tries = ground.tries()
    holds = effect is not None and effect.attempt > 1 and tries.get("payment") == 1
    told = f"inventory done by attempt {effect.attempt if effect else '-'} ({'; '.join(attempts)}), tries: {tries}"
    return [Check("the hung attempt was replaced", holds, (told,))]


def _kill(ground: Ground) -> None:
    """Kill the process of a worker in the middle of a step."""
    key = ground.key()
    ground.put(Ask(key, paid(key, payment="slow")), *(Ask(key, paid(key, number)) for number in range(1, 3)))
    _at_work(ground, "payment")
    ground.notes["killed"] = kill_lambdas(ground.settings, "payment")
    ground.see(f"payment killed in the middle of a step: {ground.notes['killed']} processes, busy and warm")


def _killed_was_tried_again(ground: Ground, facts: Facts) -> Sequence[Check]:
    tries, effect = ground.tries().get("payment", 0), _effect(facts, "payment")
    holds = ground.notes["killed"] > 0 and tries > 1 and effect is not None
    told = f"{ground.notes['killed']} killed, payment tried {tries} times, one effect, by attempt"
    return [Check("the killed step was tried again", holds, (f"{told} {effect.attempt if effect else '-'}",))]


def _effect(facts: Facts, step: str) -> Effect | None:
    """The effect of a step for the drill's first event."""
    return next((one for one in facts.history.effects if one.step == step and one.event_id.endswith("/0")), None)


ZOMBIE: Final = Drill(
    name="zombie-worker",
    does="Aborts an execution while its worker works; its workers and its finish come again when it is replaced.",
    promises="The next attempt starts only when the old worker must have ended; whatever is late is refused.",
    inject=_wake_zombies,
    checks=_zombies_changed_nothing,
    limit_s=120,
)
HUNG: Final = Drill(
    name="hung-worker",
    does="Lets a worker hang until its Lambda is stopped at its timeout.",
    promises="The attempt is replaced, steps that are done aren't done again, the key goes on in order.",
    inject=_hang,
    checks=_hung_was_replaced,
)
KILLED: Final = Drill(
    name="killed-worker",
    does="Kills the process of a worker (SIGKILL) in the middle of a step.",
    promises="The step is tried again and takes effect once, the key goes on in order.",
    inject=_kill,
    checks=_killed_was_tried_again,
    local_only="no process of a Lambda on AWS can be killed from outside",
)

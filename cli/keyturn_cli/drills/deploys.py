"""A drill about a deploy that was a mistake."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.request import ProxyHandler, build_opener

from keyturn.adapters.controls import PARTITION as CONTROLS
from keyturn.adapters.controls import Controls
from keyturn.adapters.rollouts import PARTITION as RELEASES
from keyturn.adapters.rollouts import ROLLOUT
from keyturn.core.rollout import NO_RELEASE, WHOLE, Canary, Rollout, alias_of
from keyturn_cli.drills.drill import Drill, NotHere
from keyturn_cli.drills.events import paid
from keyturn_cli.drills.ground import Ask, Ground
from keyturn_cli.errors import CliError
from keyturn_cli.facts import Facts
from keyturn_cli.publishing import deployed, publish_versions
from keyturn_cli.report import Check

_KEYS: Final = 6
"""That try it, and as many that don't."""
_EVENTS: Final = 2
_CANARY: Final = Canary(0, WHOLE // 2, 0)
"""Half of the keys, by their hash."""
_ENDED_MIN: Final = 3
_FAILED_PERCENT: Final = 50
_WORKER: Final = "payment"
_TOLD: Final = "a drill: this version has a bug"
_BUG: Final = f"""
from keyturn import Permanent, worker

@worker
def handler(event, step):
    raise Permanent("{_TOLD}")
"""


def _deploy_badly(ground: Ground) -> None:
    """Publish a version of a worker that fails, let half of the keys try it, and wait for it to be rolled back."""
    before = _rollout(ground)
    if before.canary is not None:
        raise NotHere(f"keys of it try release {before.canary.number}: promote it or roll it back first")
    tries, others = _shared_out(ground)
    ground.keeping.enter_context(_forgotten(ground, before))
    if before.stable == NO_RELEASE:
        _publish(ground)
    with _bad_code(ground):
        number = _publish(ground)
        ground.operate(
            "release-canary",
            number=number,
            share=_CANARY.share,
            ended_min=_ENDED_MIN,
            failed_percent=_FAILED_PERCENT,
        )
        ground.put(*(Ask(key, paid(key, event)) for event in range(_EVENTS) for key in (*tries, *others)))
        ground.until("it is rolled back by itself", lambda: _rollout(ground).has_rolled_back(number), limit_s=90)
    ground.see(f"release {number}, tried by {len(tries)} of {len(tries + others)} keys, was rolled back by itself")
    ground.notes["tries"] = set(tries)


def _shared_out(ground: Ground) -> tuple[list[str], list[str]]:
    """Keys that fall into the canary's share, and keys that don't."""
    keys = [ground.key(number) for number in range(100)]
    tries = [key for key in keys if _CANARY.takes(key)]
    return tries[:_KEYS], [key for key in keys if not _CANARY.takes(key)][:_KEYS]


@contextmanager
def _bad_code(ground: Ground) -> Iterator[None]:
    """Have a worker's newest code fail; the good one is put back."""
    good = _code(ground)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("app.py", _BUG)
    try:
        _put_code(ground, archive.getvalue())
        yield
    finally:
        _put_code(ground, good)


def _name(ground: Ground) -> str:
    return f"{ground.target.stack_name}-{_WORKER}"


def _code(ground: Ground) -> bytes:
    place = ground.target.client("lambda").get_function(FunctionName=_name(ground))["Code"]["Location"]
    try:
        with build_opener(ProxyHandler({})).open(place, timeout=30) as answer:
            code: bytes = answer.read()
    except OSError as error:
        raise CliError(
            f"the engine doesn't hand out the code of {_name(ground)} ({error}): nothing was changed"
        ) from error
    return code


def _put_code(ground: Ground, code: bytes) -> None:
    client = ground.target.client("lambda")
    client.update_function_code(FunctionName=_name(ground), ZipFile=code)
    client.get_waiter("function_updated_v2").wait(FunctionName=_name(ground))


def _publish(ground: Ground) -> int:
    """Publish what is deployed, as `keyturn release publish` does; the release's number."""
    found = deployed(ground.target)
    number = int(ground.operate("release-begin")["number"])
    made = publish_versions(ground.target, found, number)
    ground.operate("release-publish", number=number, machines=made.machines, workers=made.workers)
    return number


def _rollout(ground: Ground) -> Rollout:
    return Controls(ground.store.table, 1).read().rollout


@contextmanager
def _forgotten(ground: Ground, before: Rollout) -> Iterator[None]:
    """Where nothing was published before, take away what was: else the next deploy would change nothing."""
    try:
        yield
    finally:
        if before.stable == NO_RELEASE:
            _forget(ground, _rollout(ground))


def _forget(ground: Ground, rollout: Rollout) -> None:
    client, table = ground.target.client("lambda"), ground.store.table
    for arn in deployed(ground.target).workers.values():
        for number in range(1, rollout.last + 1):
            client.delete_alias(FunctionName=arn, Name=alias_of(number))
    told = table.query({"KeyConditionExpression": "pk = :pk", "ConsistentRead": True}, {"pk": RELEASES})
    for pk, sk in [(CONTROLS, ROLLOUT), *((item["pk"], item["sk"]) for item in told)]:
        table.client.delete_item(TableName=table.name, Key={"pk": {"S": pk}, "sk": {"S": sk}})


def _the_good_version_did_all(ground: Ground, facts: Facts) -> Sequence[Check]:
    """Whether some keys met the bad version, and only those of its share."""
    met = {attempt.key for attempt in facts.attempts if _TOLD in attempt.reason}
    strays = met - ground.notes["tries"]
    told = f"{len(met)} keys met it, {len(strays)} of them outside its share; all are done"
    return [Check("a canary's keys only met it", bool(met) and not strays, (told,))]


BAD_DEPLOY: Final = Drill(
    name="bad-deploy",
    does="Publishes a version of a worker that fails, as a canary for half of the keys.",
    promises="It is rolled back by itself, other keys never meet it, its parked keys are resumed, nothing is lost.",
    inject=_deploy_badly,
    checks=_the_good_version_did_all,
    limit_s=180,
    local_only="it would put bad code behind a worker that other keys use",
)

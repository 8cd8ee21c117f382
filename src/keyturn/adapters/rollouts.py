"""Releases as items: the one that every function reads (`controls`), and for each release one that tells its story."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from keyturn.adapters.table import Item, Table, reading
from keyturn.core.rollout import Canary, CanaryRules, Health, Recovery, Rollout

ROLLOUT: Final = "release"
"""Sort key of the releases as they stand, among the controls."""

PARTITION: Final = "releases"
_RELEASE: Final = "release#"
_HEALTH: Final = "health#"


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """What was published, and what became of it. Read by people; runs take what the rollout says."""

    number: int
    machines: Mapping[str, str]
    """State machine (`WORKFLOW-KIND`) -> ARN of its version."""
    workers: Mapping[str, str]
    """Worker function -> ARN of its version."""
    story: Sequence[Mapping[str, Any]]
    """What was done with it, in order: `done`, `by`, `reason`, `at_ms`, and a canary's `share`."""


@dataclass(frozen=True, slots=True)
class ReleaseStore:
    """The records of releases, and how the attempts on a canary end."""

    table: Table

    def get(self, number: int) -> ReleaseRecord | None:
        """Read a release's record, strongly consistent."""
        item = self.table.get(PARTITION, _sort_key(number))
        return _decode_record(item) if item else None

    def listed(self, limit: int) -> Iterator[ReleaseRecord]:
        """Yield the releases, the latest first."""
        arguments = {
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ScanIndexForward": False,
            "ConsistentRead": True,
        }
        return map(_decode_record, self.table.query(arguments, {"pk": PARTITION, "prefix": _RELEASE}, limit))

    def count(self, canary: Canary, *, has_succeeded: bool) -> Health:
        """Count one more attempt that ended on a canary; return all that are counted."""
        field = "succeeded" if has_succeeded else "failed"
        item = self.table.update(_health_place(canary), f"ADD {field} :one", None, {"one": 1})
        return _decode_health(item)

    def health(self, canary: Canary) -> Health:
        """Return how the attempts on a canary ended so far."""
        return _decode_health(self.table.get(*_health_place(canary)) or {})


def record_item(record: ReleaseRecord) -> Item:
    """Make the item of a release's record."""
    return {"pk": PARTITION, "sk": _sort_key(record.number), **asdict(record)}


def _decode_record(item: Item) -> ReleaseRecord:
    with reading("a release"):
        return ReleaseRecord(item["number"], item["machines"], item["workers"], item["story"])


def _sort_key(number: int) -> str:
    return f"{_RELEASE}{number:09d}"


def _health_place(canary: Canary) -> tuple[str, str]:
    return PARTITION, f"{_HEALTH}{canary.number:09d}#{canary.since_ms}"


def _decode_health(item: Item) -> Health:
    return Health(item.get("succeeded", 0), item.get("failed", 0))


def encode_rollout(rollout: Rollout) -> dict[str, Any]:
    """Write the releases as attributes of an item."""
    return {
        "version": rollout.version,
        "last": rollout.last,
        "machines": {str(number): dict(machines) for number, machines in rollout.machines.items()},
        "worker_timeouts_s": {str(number): limit_s for number, limit_s in rollout.worker_timeouts_s.items()},
        "stables": list(rollout.stables),
        "stable_since_ms": rollout.stable_since_ms,
        "canary": asdict(rollout.canary) if rollout.canary else None,
        "rolled_back": list(rollout.rolled_back),
        "recoveries": [asdict(recovery) for recovery in rollout.recoveries],
    }


def decode_rollout(item: Item) -> Rollout:
    """Read the releases from their item; attributes of a later format are passed over. Raises Unreadable."""
    with reading("the releases"):
        return _decode_rollout(item)


def _decode_rollout(item: Item) -> Rollout:
    return Rollout(
        version=item["version"],
        last=item["last"],
        machines={int(number): machines for number, machines in item["machines"].items()},
        worker_timeouts_s={int(number): limit_s for number, limit_s in item.get("worker_timeouts_s", {}).items()},
        stables=tuple(item["stables"]),
        stable_since_ms=item["stable_since_ms"],
        canary=_decode_canary(item["canary"]) if "canary" in item else None,
        rolled_back=tuple(item["rolled_back"]),
        recoveries=tuple(
            Recovery(one["number"], one["since_ms"], one["at_ms"], one["next_at_ms"]) for one in item["recoveries"]
        ),
    )


def _decode_canary(item: Item) -> Canary:
    rules = item["rules"]
    return Canary(
        number=item["number"],
        share=item["share"],
        since_ms=item["since_ms"],
        rules=CanaryRules(
            rules["ended_min"], rules["failed_percent"], rules["promote_after_runs"], rules["promote_after_ms"]
        ),
    )

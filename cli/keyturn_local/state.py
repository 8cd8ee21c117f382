"""The note that a running engine leaves for the next command: .keyturn/engine.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from keyturn_local import processes


@dataclass(frozen=True, slots=True)
class Noted:
    """A process of ours. `started` guards against the number having been given to somebody else since."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Noted:
        """Note down a process that was just started; one that is gone already is noted as such."""
        found = processes.process(pid)
        return cls(pid, found.started if found is not None else "")

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return processes.is_same(self.pid, self.started)

    @property
    def group(self) -> list[processes.Process]:
        """Live members of the group it leads, itself included or not.

        The members outlive a leader that was killed. Then the group is ours only if it holds an engine: the number may
        have been used again by then.
        """
        members = processes.group_members(self.pid)
        if self.alive or any("ministack" in member.command or "keyturn_local" in member.command for member in members):
            return [] if self._reused(members) else members
        return []

    def _reused(self, members: list[processes.Process]) -> bool:
        return any(member.pid == self.pid and member.started != self.started for member in members)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """What is known of a started engine: each process leads a group of its own."""

    port: int
    started_at_s: float
    engine: Noted
    name: str
    """Told by the engine with its health: another one may answer on its port. Empty in the note of an older version."""
    stack_name: str
    """The stack that its event source reads for."""
    poller: Noted | None = None

    @property
    def living(self) -> bool:
        """Whether any of its processes is left."""
        return bool(self.engine.group) or (self.poller is not None and bool(self.poller.group))


def path_of(state_dir: Path) -> Path:
    """Where the note lies."""
    return state_dir / "engine.json"


def read(state_dir: Path) -> EngineState | None:
    """The note, if there is one that can be read; half a note (a full disk, a kill) counts as none."""
    try:
        noted = json.loads(path_of(state_dir).read_text(encoding="utf-8"))
        poller = noted["poller"]
        return EngineState(
            port=noted["port"],
            started_at_s=noted["started_at_s"],
            engine=Noted(**noted["engine"]),
            name=noted.get("name", ""),
            stack_name=noted.get("stack_name", ""),
            poller=Noted(**poller) if poller else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(state_dir: Path, state: EngineState) -> None:
    """Replace the note in one step, so that nobody reads half of it."""
    target = path_of(state_dir)
    draft = target.with_suffix(".new")
    draft.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    draft.replace(target)


def forget(state_dir: Path) -> None:
    """Remove the note."""
    path_of(state_dir).unlink(missing_ok=True)

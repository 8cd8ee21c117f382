"""Positions that outlive the event source's process, in a file of their own for each mapping.

Best effort: what a crash loses is delivered again. A mapping of another engine has another UUID, so a file that was
left behind is never taken for its own.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from keyturn_local.poller.core import ResumePoint


class Checkpoints(Protocol):
    """Where positions are kept."""

    def started_at_s(self, default: float) -> float:
        """When this mapping was first read: LATEST means this time, also after a restart."""

    def load(self, shard_id: str) -> tuple[ResumePoint | None, bool]:
        """Where a shard was left, and whether it is finished."""

    def save(self, shard_id: str, resume: ResumePoint | None, *, finished: bool) -> None:
        """Remember where a shard is."""


@dataclass(slots=True)
class InMemory:
    """For one process's life."""

    _kept: dict[str, Any] = field(default_factory=lambda: {"shards": {}})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def started_at_s(self, default: float) -> float:
        with self._lock:
            return float(self._kept.setdefault("started_at_s", default))

    def load(self, shard_id: str) -> tuple[ResumePoint | None, bool]:
        with self._lock:
            kept = self._kept["shards"].get(shard_id)
        if kept is None:
            return None, False
        return (ResumePoint(**kept["resume"]) if kept["resume"] else None), kept["finished"]

    def save(self, shard_id: str, resume: ResumePoint | None, *, finished: bool) -> None:
        with self._lock:
            self._kept["shards"][shard_id] = {"resume": asdict(resume) if resume else None, "finished": finished}


class InFile(InMemory):
    """In a JSON file, replaced in one step."""

    def __init__(self, path: Path) -> None:
        super().__init__(_read(path))
        self._path = path

    @classmethod
    def of(cls, state_dir: Path, mapping_uuid: str) -> InFile:
        """The file of one mapping."""
        return cls(state_dir / f"checkpoints-{mapping_uuid}.json")

    def started_at_s(self, default: float) -> float:
        at_s = super().started_at_s(default)
        self._write()
        return at_s

    def save(self, shard_id: str, resume: ResumePoint | None, *, finished: bool) -> None:
        super().save(shard_id, resume, finished=finished)
        self._write()

    def _write(self) -> None:
        with self._lock:
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(self._kept), encoding="utf-8")
            draft.replace(self._path)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"shards": {}}
    return kept if isinstance(kept, dict) and isinstance(kept.get("shards"), dict) else {"shards": {}}

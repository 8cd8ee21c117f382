"""Where the engine unpacks functions: every cold start writes the whole layer, some 330 files.

In memory, where the machine has a file system for that: writing and removing those files takes a sixth of the time
there, and a disk's delay would count as start-up of every Lambda process.
"""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from pathlib import Path

from keyturn_local.settings import LocalSettings

_IN_MEMORY = Path("/dev/shm")  # noqa: S108  looked at for use, see below; the folder in it is the user's own
_BYTES_MIN = 2 * 1024**3
"""A hundred Lambda processes of 6 MB, and then some."""


def scratch_dir(settings: LocalSettings) -> Path:
    """Return the folder for this project's engine, without making it."""
    digest = sha256(str(settings.state_dir.resolve()).encode()).hexdigest()[:12]
    return _IN_MEMORY / f"keyturn-{os.getuid()}-{digest}" if _has_room() else settings.state_dir / "tmp"


def make_scratch(settings: LocalSettings) -> None:
    """Make the folder, for this user only."""
    scratch_dir(settings).mkdir(mode=0o700, parents=True, exist_ok=True)


def remove_scratch(settings: LocalSettings) -> None:
    """Remove it with all that was unpacked."""
    for path in {scratch_dir(settings), settings.state_dir / "tmp"}:
        shutil.rmtree(path, ignore_errors=True)


def _has_room() -> bool:
    if not (_IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK)):
        return False
    # A compiled module can't be loaded from a file system that forbids execution.
    forbids_execution = os.statvfs(_IN_MEMORY).f_flag & getattr(os, "ST_NOEXEC", 0)
    return not forbids_execution and shutil.disk_usage(_IN_MEMORY).total >= _BYTES_MIN

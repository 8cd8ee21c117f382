"""Who holds a TCP port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

from keyturn_local.errors import PortTaken
from keyturn_local.processes import process
from keyturn_local.settings import LOCAL_HOST

_LISTENING = "0A"  # proc(5), tcp state


def require_free(port: int) -> None:
    """Raise PortTaken, naming the holder where it can be found, unless the port can be listened on."""
    if _can_bind(port) and not _answers(port):
        return
    holder = _holder(port)
    raise PortTaken(
        f"port {port} is taken by {holder or 'another program'}."
        f" Stop it, or use another port: KEYTURN_PORT={port + 1} before the command"
    )


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL_HOST, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def _answers(port: int) -> bool:
    # macOS lets one bind a loopback port that somebody else holds on all interfaces
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOCAL_HOST, port)) == 0


def _holder(port: int) -> str | None:
    pid = _holder_by_proc(port) if sys.platform == "linux" else _holder_by_lsof(port)
    found = process(pid) if pid is not None else None
    return f"process {found.pid} ({found.command[:60]})" if found is not None else None


def _holder_by_proc(port: int) -> int | None:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = (line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:])
        inodes |= {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _open_sockets(entry) & sockets:
            return int(entry.name)
    return None


def _open_sockets(entry: Path) -> set[str]:
    try:
        return {_target(descriptor) for descriptor in (entry / "fd").iterdir()}
    except OSError:
        return set()  # another user's, or it ended


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""  # closed while we looked


def _holder_by_lsof(port: int) -> int | None:
    lsof = shutil.which("lsof") or "/usr/sbin/lsof"
    if not Path(lsof).is_file():
        return None
    answer = subprocess.run(  # noqa: S603  fixed command
        [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-t"], capture_output=True, text=True, check=False
    )
    first = answer.stdout.split()
    return int(first[0]) if first else None

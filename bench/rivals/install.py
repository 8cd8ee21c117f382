"""Installs what DBOS and Restate need, once, into the bench's folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.errors import NotInstalled

REQUIREMENTS: Final = Path(__file__).resolve().parents[1] / "requirements.txt"
PACKAGE: Final = Path(__file__).resolve().parent / "package.json"
_POSTGRES: Final = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version, outside the PATH."""


def python(folder: Path) -> Path:
    """Make the rivals' virtual environment if it isn't there or its pins changed; return its interpreter."""
    venv = folder / "venv"
    stamp = venv / "requirements.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        _run(sys.executable, "-m", "venv", "--clear", str(venv))
        _run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", "-r", str(REQUIREMENTS))
        stamp.write_text(wanted, encoding="utf-8")
    return venv / "bin" / "python"


def restate_server(folder: Path) -> Path:
    """Install the Restate server from npm if it isn't there or its pin changed; return the program."""
    place = folder / "npm"
    server = place / "node_modules" / ".bin" / "restate-server"
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstalled(
            "the Restate server comes from npm, which isn't here. Install Node.js, or: --without restate"
        )
    if not server.exists() or (place / "package.json").read_bytes() != PACKAGE.read_bytes():
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE, place)
        _run(npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place))
    return server


def postgres_programs() -> Path:
    """Find the folder of PostgreSQL's own programs, the newest version's."""
    found = shutil.which("initdb")
    folders = sorted(_POSTGRES.glob("*/bin"), key=lambda path: float(path.parent.name))
    if found is None and not folders:
        raise NotInstalled("DBOS wants PostgreSQL: apt install postgresql (it needn't run), or: --without dbos")
    return Path(found).resolve().parent if found is not None else folders[-1]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  pip and npm, fixed arguments
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"{' '.join(command[:4])} ... failed: {said[-1] if said else 'no output'}")

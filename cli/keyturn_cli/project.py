"""Where the project lies, and the settings of its local engine."""

from __future__ import annotations

import os
from pathlib import Path

from keyturn_local.settings import LocalSettings

from keyturn_cli.errors import CliError

_MARKS = ("template.yaml", "samconfig.toml")


def project_root(start: Path | None = None) -> Path:
    """The folder with the template: the working directory, one above it, else where this command was installed from."""
    here = (start or Path.cwd()).resolve()
    candidates = (here, *here.parents, Path(__file__).resolve().parents[2])
    for folder in candidates:
        if all((folder / mark).is_file() for mark in _MARKS):
            return folder
    raise CliError(f"no Keyturn project at {here} or above it: template.yaml and samconfig.toml are missing. Go there.")


def local_settings() -> LocalSettings:
    """Settings of this project's local engine."""
    return LocalSettings.from_environment(os.environ, root=project_root())

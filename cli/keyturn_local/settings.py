"""Where the local engine lives, and the environment its processes see."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyturn_local.errors import BadSetting

PORT_DEFAULT = 4566
"""MiniStack's own default, which AWS tools know as the port of an emulator."""

LOCAL_HOST = "127.0.0.1"

ENGINE_NAME: Final = "KEYTURN_ENGINE"
"""Under this an engine finds its name in its environment, and tells it with its health."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Everything local that differs between two checkouts or two runs."""

    root: Path
    """The project: template.yaml and samconfig.toml lie here."""
    port: int = PORT_DEFAULT
    stack_name: str = "keyturn"
    region: str = "us-east-1"
    config_env: str = "local"
    """The environment of samconfig.toml that `sam` is run with."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str], *, root: Path) -> LocalSettings:
        """Settings of this project; KEYTURN_PORT and KEYTURN_STACK change the defaults."""
        return cls(
            root=root,
            port=_port(env.get("KEYTURN_PORT", "")),
            stack_name=env.get("KEYTURN_STACK") or "keyturn",
        )

    @property
    def endpoint_url(self) -> str:
        """What AWS_ENDPOINT_URL must be for a tool to reach this engine."""
        return f"http://{LOCAL_HOST}:{self.port}"

    @property
    def state_dir(self) -> Path:
        """Logs, process ids and checkpoints of the local run; git-ignored."""
        return self.root / ".keyturn"


def _port(text: str) -> int:
    if not text:
        return PORT_DEFAULT
    port = int(text) if text.isascii() and text.isdigit() else 0
    if not 1024 <= port <= 65535:
        raise BadSetting(f"KEYTURN_PORT is {text!r}; it must be a port number from 1024 to 65535.")
    return port


def engine_environment(env: Mapping[str, str], settings: LocalSettings) -> dict[str, str]:
    """Environment for everything that talks to the engine: `sam`, the engine, its Lambda processes.

    Nothing of the user's AWS set-up gets through, so that no call can reach a real account by accident, and
    a profile that is set but not configured can't break one. PYTHONPATH goes too: Lambdas would import from it.
    """
    kept = {name: value for name, value in env.items() if not name.startswith("AWS_") and name != "PYTHONPATH"}
    no_proxy = ",".join(filter(None, (env.get("NO_PROXY") or env.get("no_proxy") or "", LOCAL_HOST, "localhost")))
    return kept | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_REGION": settings.region,
        "AWS_ENDPOINT_URL": settings.endpoint_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONDONTWRITEBYTECODE": "1",
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.3",  # seconds; sam's default of 5 is for an API that counts calls
        "KEYTURN_PYTHON": sys.executable,
    }

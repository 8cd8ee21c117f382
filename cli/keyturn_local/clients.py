"""boto3 clients that can reach the local engine only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from keyturn_local.settings import LocalSettings


def local_session(region: str) -> boto3.Session:
    """A session with dummy credentials that reads none of the user's AWS configuration.

    AWS_PROFILE and the files in ~/.aws are the user's own: a profile that doesn't exist would make every client fail,
    and one that exists must not lend its credentials to an emulator.
    """
    # each setting: name in the configuration file, environment variables, default, conversion
    nothing = {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull}
    core = botocore.session.Session(session_vars={name: (None, None, value, None) for name, value in nothing.items()})
    core.set_credentials("test", "test")
    return boto3.Session(botocore_session=core, region_name=region)


def client_options(settings: LocalSettings, *, attempts: int = 3, read_timeout_s: float = 20) -> dict[str, Any]:
    """Keyword arguments for `session.client`: this engine, no proxy, `attempts` tries in all."""
    config = Config(
        connect_timeout=3,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=64,
        proxies={},
        s3={"addressing_style": "path"},
    )
    return {"endpoint_url": settings.endpoint_url, "config": config}

"""moto for the tests that ask for a store."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from keyturn.adapters.table import Table
from tests.adapters.aws import UNHURRIED, create_state_table


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test against moto; no call leaves this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


@pytest.fixture
def table(aws: None) -> Table:  # noqa: ARG001 - moto must be on
    """Return an empty state table."""
    dynamodb = boto3.client("dynamodb")
    return Table(dynamodb, create_state_table(dynamodb), UNHURRIED)

"""Where given-up batches go: the mapping's on-failure destination."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_local.poller import wire
from keyturn_local.poller.aws import Clients
from keyturn_local.poller.core import Batch, Doom, GivenUp, NotGivenUp
from keyturn_local.poller.mapping import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """The on-failure destination, for the batches of one shard."""

    clients: Clients
    mapping: Mapping
    shard_id: str

    def give_up(self, batch: Batch, now_s: float) -> GivenUp | NotGivenUp:
        """Send a batch there; without a destination its records are gone, as on AWS."""
        target = self.mapping.on_failure_arn
        if target is None:
            return GivenUp()
        try:
            self._send(target, batch, now_s)
        except (ClientError, BotoCoreError, OSError) as error:
            return NotGivenUp(f"{target}: {error}")
        return GivenUp()

    def _send(self, target: str, batch: Batch, now_s: float) -> None:
        record = self._record(batch, now_s)
        _, _, service, _, account, name = target.split(":", 5)
        if service == "s3":
            # AWS's documentation shows `payload` as a string ("<Whole Event>"): JSON within JSON. A reader should
            # take an object as well, for the page doesn't say more.
            whole = record | {"payload": wire.payload([found.wire for found in batch.records]).decode()}
            body = json.dumps(whole).encode()
            self.clients.s3.put_object(Bucket=name, Key=self._key(now_s), Body=body, ContentType="application/json")
        elif service == "sqs":
            url = self.clients.sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
            self.clients.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))
        else:
            self.clients.sns.publish(TopicArn=target, Message=json.dumps(record))

    def _key(self, now_s: float) -> str:
        unique = str(uuid.uuid4())
        return wire.failure_object_key(
            mapping_uuid=self.mapping.uuid, shard_id=self.shard_id, at_s=now_s, unique=unique
        )

    def _record(self, batch: Batch, now_s: float) -> dict[str, Any]:
        first, last = batch.records[0], batch.records[-1]
        tried = batch.doom is Doom.RETRIES
        response = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": batch.function_error}
        return wire.failure_record(
            request_id=str(uuid.uuid4()),
            function_arn=self.mapping.function_arn,
            condition=str(batch.doom),
            invocations=batch.invocations if tried else 1,
            response=response if tried else None,
            at_s=now_s,
            shard_id=self.shard_id,
            stream_arn=self.mapping.stream_arn,
            sequence_numbers=(first.sequence_number, last.sequence_number),
            arrivals_s=(first.arrived_at_s, last.arrived_at_s),
            batch_size=len(batch.records),
        )

"""Claim checks: events too large to travel inline lie in the payload bucket, under a hashed prefix."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from botocore.exceptions import ClientError

from keyturn.adapters.failures import code_of, translated
from keyturn.core.log_entry import PayloadReference
from keyturn.core.naming import key_hash
from keyturn.errors import PayloadError, StoreError


@contextmanager
def _reading(operation: str) -> Iterator[None]:
    """Translate errors of a call that reads an object.

    One that is gone is refused as one that may not be read: who may not list a bucket isn't told (GetObject API
    reference, "Permissions"), and no function may.
    """
    try:
        with translated(operation):
            yield
    except StoreError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and code_of(cause) == "AccessDenied":
            raise StoreError(f"{error} (S3 says so of an object that is gone, too)") from cause
        raise


@dataclass(frozen=True, slots=True)
class PayloadStore:
    """Puts payloads to the bucket and gets them back."""

    client_of: Callable[[str], Any]
    """Asked for S3 when a payload is really moved: most runs carry none, and a client takes time to load."""
    bucket: str

    def put(self, key: str, position: str, content: bytes) -> PayloadReference:
        """Store a payload; the same event always goes to the same object, so a second put is harmless.

        The first characters of an object's name are a hash: S3 scales by prefix ("Best practices design patterns:
        optimizing Amazon S3 performance").
        """
        name = key_hash(key)
        reference = PayloadReference(f"{name[:4]}/{name}/{position}", len(content), sha256(content).hexdigest())
        with translated(f"storing a payload of {len(content)} bytes"):
            self.client_of("s3").put_object(Bucket=self.bucket, Key=reference.object, Body=content)
        return reference

    def renew(self, name: str, now_ms: int) -> None:
        """Let an object's life begin anew: lifecycle rules count from its last modification, and a copy is one.

        S3 takes a copy onto itself only if something changes: the metadata says when it was renewed.
        """
        with _reading(f"renewing payload {name}"):
            self.client_of("s3").copy_object(
                Bucket=self.bucket,
                Key=name,
                CopySource={"Bucket": self.bucket, "Key": name},
                MetadataDirective="REPLACE",
                Metadata={"renewed-at-ms": str(now_ms)},
            )

    def get(self, reference: PayloadReference) -> bytes:
        """Fetch a payload; raises PayloadError when its content is not what was stored."""
        with _reading(f"fetching payload {reference.object}"):
            content: bytes = self.client_of("s3").get_object(Bucket=self.bucket, Key=reference.object)["Body"].read()
        if sha256(content).hexdigest() != reference.sha256:
            raise PayloadError(f"payload {reference.object} is not what was stored: its SHA-256 differs from the log's")
        return content

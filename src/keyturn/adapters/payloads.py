"""Claim checks: events too large to travel inline lie in the payload bucket, under a hashed prefix."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from keyturn.adapters.failures import translated
from keyturn.core.log_entry import PayloadReference
from keyturn.core.naming import key_hash
from keyturn.errors import PayloadError


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
        with translated(f"renewing payload {name}"):
            self.client_of("s3").copy_object(
                Bucket=self.bucket,
                Key=name,
                CopySource={"Bucket": self.bucket, "Key": name},
                MetadataDirective="REPLACE",
                Metadata={"renewed-at-ms": str(now_ms)},
            )

    def get(self, reference: PayloadReference) -> bytes:
        """Fetch a payload; raises PayloadError when its content is not what was stored."""
        with translated(f"fetching payload {reference.object}"):
            content: bytes = self.client_of("s3").get_object(Bucket=self.bucket, Key=reference.object)["Body"].read()
        if sha256(content).hexdigest() != reference.sha256:
            raise PayloadError(f"payload {reference.object} is not what was stored: its SHA-256 differs from the log's")
        return content

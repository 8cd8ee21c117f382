"""S3 in one process: the calls that Keyturn makes of its buckets.

Consistent, as S3 is (User Guide, "Data consistency model").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from tests.models.dynamodb import refusal

_PAGE: Final = 1_000


@dataclass
class S3:
    """Buckets of objects. Methods take and return what boto3's do."""

    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def create_bucket(self, **call: Any) -> dict[str, Any]:
        """Make a bucket."""
        self.buckets[call["Bucket"]] = {}
        return {}

    def delete_bucket(self, **call: Any) -> dict[str, Any]:
        """Take an empty bucket away."""
        if self._bucket(call, "DeleteBucket"):
            raise refusal("BucketNotEmpty", "DeleteBucket")
        del self.buckets[call["Bucket"]]
        return {}

    def put_object(self, **call: Any) -> dict[str, Any]:
        """Store an object over whatever has its name."""
        self._bucket(call, "PutObject")[call["Key"]] = call["Body"]
        return {}

    def get_object(self, **call: Any) -> dict[str, Any]:
        """Fetch an object."""
        return {"Body": BytesIO(self._object(call, "GetObject"))}

    def copy_object(self, **call: Any) -> dict[str, Any]:
        """Copy an object, onto itself too if its metadata are replaced."""
        content = self._object(call["CopySource"], "CopyObject")
        is_same = call["CopySource"] == {"Bucket": call["Bucket"], "Key": call["Key"]}
        if is_same and call.get("MetadataDirective") != "REPLACE":
            raise refusal("InvalidRequest", "CopyObject", "copied onto itself without changing anything")
        return self.put_object(Bucket=call["Bucket"], Key=call["Key"], Body=content)

    def delete_object(self, **call: Any) -> dict[str, Any]:
        """Take an object away, if it is there."""
        self._bucket(call, "DeleteObject").pop(call["Key"], None)
        return {}

    def list_objects_v2(self, **call: Any) -> dict[str, Any]:
        """List the names behind a point, a page of them."""
        after = call.get("ContinuationToken") or call.get("StartAfter", "")
        prefix = call.get("Prefix", "")
        bucket = self._bucket(call, "ListObjectsV2")
        names = sorted(name for name in bucket if name.startswith(prefix) and name > after)
        page, is_truncated = names[:_PAGE], len(names) > _PAGE
        answer: dict[str, Any] = {"Contents": [{"Key": name} for name in page], "IsTruncated": is_truncated}
        return answer | ({"NextContinuationToken": page[-1]} if is_truncated else {})

    def _bucket(self, call: Any, operation: str) -> dict[str, bytes]:
        if call["Bucket"] not in self.buckets:
            raise refusal("NoSuchBucket", operation, "The specified bucket does not exist")
        return self.buckets[call["Bucket"]]

    def _object(self, call: Any, operation: str) -> bytes:
        bucket = self._bucket(call, operation)
        if call["Key"] not in bucket:
            raise refusal("NoSuchKey", operation, "The specified key does not exist.")
        return bucket[call["Key"]]

"""DynamoDB in one process: the calls that Keyturn makes of its tables, answered in DynamoDB's own JSON.

Writes are atomic and reads that ask for it consistent. What DynamoDB leaves open is the caller's to decide: how long
the index and other reads lag behind, how many items of a batch are done at once, how long a page is.
`test_models` holds it against moto, call by call.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from tests.guard.limits import BeyondLimit, check, item_bytes
from tests.models.expressions import Item, Scope, condition, key_range, update

Place = tuple[str, str]
"""(pk, sk)"""
Call = Mapping[str, Any]

_NO_NAMES: Final[Mapping[str, str]] = {}


def refusal(code: str, operation: str, message: str = "", **more: Any) -> ClientError:
    """Make the error that boto3 raises for a refusal."""
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}, **more}
    return ClientError(response, operation)


@dataclass
class Nature:
    """What DynamoDB leaves open. Each is asked anew whenever it matters."""

    lag_ms: Callable[[], int] = lambda: 0
    """How long a write takes to be seen by the index and by reads that don't ask for consistency."""
    done_of: Callable[[int], int] = lambda size: size
    """How many of a batch's items are done before the rest is handed back."""
    page_items: Callable[[], int] = lambda: 1_000_000
    """How many items a page holds at most."""


@dataclass
class _Partition:
    """The items of one partition key; sort keys in order."""

    items: dict[str, Item] = field(default_factory=dict)
    sort_keys: list[str] = field(default_factory=list)

    def put(self, sk: str, item: Item) -> None:
        if sk not in self.items:
            insort(self.sort_keys, sk)
        self.items[sk] = item

    def remove(self, sk: str) -> None:
        if self.items.pop(sk, None) is not None:
            del self.sort_keys[bisect_left(self.sort_keys, sk)]


@dataclass
class _Index:
    """A sparse global secondary index on (due_bucket, due_at), keys only; it lags behind its table."""

    buckets: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    entries: dict[Place, tuple[str, int]] = field(default_factory=dict)
    pending: deque[tuple[int, Place, tuple[str, int] | None]] = field(default_factory=deque)
    """(when it is seen, where, the new entry), in the order of the writes."""

    def put(self, place: Place, entry: tuple[str, int] | None) -> None:
        old = self.entries.pop(place, None)
        if old is not None:
            bucket = self.buckets[old[0]]
            del bucket[bisect_left(bucket, (old[1], *place))]
        if entry is not None:
            self.entries[place] = entry
            insort(self.buckets.setdefault(entry[0], []), (entry[1], *place))

    def catch_up(self, now_ms: int) -> None:
        """Show what may be seen by now; one item's changes in their order."""
        late: set[Place] = set()
        rest: deque[tuple[int, Place, tuple[str, int] | None]] = deque()
        for seen_ms, place, entry in self.pending:
            if seen_ms > now_ms or place in late:
                late.add(place)
                rest.append((seen_ms, place, entry))
            else:
                self.put(place, entry)
        self.pending = rest


@dataclass
class DynamoDB:
    """One table with its index. Methods take and return what boto3's do."""

    clock: Callable[[], int] = lambda: 0
    nature: Nature = field(default_factory=Nature)
    checks_limits: bool = True
    """Whether AWS's size limits are checked: they cost more time than the call."""
    partitions: dict[str, _Partition] = field(default_factory=dict)
    index: _Index = field(default_factory=_Index)
    recent: dict[Place, tuple[int, Item | None]] = field(default_factory=dict)
    """What an item was before its last write, and until when a read may still see that."""

    # Reads

    def get_item(self, **call: Any) -> dict[str, Any]:
        """Read one item."""
        self._check("GetItem", call)
        item = self._read(_place(call["Key"]), is_consistent=call.get("ConsistentRead", False))
        return {"Item": _projected(item, call)} if item is not None else {}

    def batch_get_item(self, **call: Any) -> dict[str, Any]:
        """Read many items; some may be handed back unprocessed."""
        self._check("BatchGetItem", call)
        ((table, request),) = call["RequestItems"].items()
        keys, found = request["Keys"], []
        done = self._done_of(len(keys))
        for key in keys[:done]:
            item = self._read(_place(key), is_consistent=request.get("ConsistentRead", False))
            if item is not None:
                found.append(_projected(item, request))
        rest = {table: {**request, "Keys": keys[done:]}} if done < len(keys) else {}
        return {"Responses": {table: found}, "UnprocessedKeys": rest}

    def query(self, **call: Any) -> dict[str, Any]:
        """Read a page of a partition of the table or of its index."""
        self._check("Query", call)
        scope = _scope(call)
        wanted = key_range(call["KeyConditionExpression"])
        partition = scope.values[wanted.partition]["S"]
        low, high = _comparable(scope, wanted.low), _comparable(scope, wanted.high)
        if low is not None and high is not None and low > high:
            told = "The BETWEEN operator requires upper bound to be greater than or equal to lower bound"
            raise refusal("ValidationException", "Query", told)
        if "IndexName" in call:
            rows = self._index_rows(partition, low)
        else:
            rows = self._table_rows(partition, low, is_consistent=call.get("ConsistentRead", False))
        matching = [(sk, item) for sk, item in rows if wanted.fits is None or wanted.fits(sk, scope)]
        if not call.get("ScanIndexForward", True):
            matching.reverse()
        return self._page([item for _, item in matching], call, scope)

    def scan(self, **call: Any) -> dict[str, Any]:
        """Read a page of the whole table, or of its index, eventually consistent."""
        scope = _scope(call)
        if "IndexName" in call:
            self.index.catch_up(self.clock())
            items = [
                _entry_item(entry, bucket) for bucket in self.index.buckets for entry in self.index.buckets[bucket]
            ]
        else:
            items = [
                item
                for pk in sorted(self.partitions)
                for _, item in self._table_rows(pk, None, is_consistent=call.get("ConsistentRead", False))
            ]
        return self._page(items, call, scope)

    def describe_table(self, **_call: Any) -> dict[str, Any]:
        """Tell the table's size."""
        items = list(self.all_items())
        return {"Table": {"ItemCount": len(items), "TableSizeBytes": sum(map(item_bytes, items))}}

    def all_items(self) -> Iterator[Item]:
        """Yield every item as it stands."""
        for partition in self.partitions.values():
            yield from partition.items.values()

    # Writes

    def put_item(self, **call: Any) -> dict[str, Any]:
        """Write an item, if its condition holds."""
        self._check("PutItem", call)
        item = call["Item"]
        self._must_hold("PutItem", call, self._standing(_place(item)))
        self._write(_place(item), item)
        return {}

    def delete_item(self, **call: Any) -> dict[str, Any]:
        """Take an item away, if its condition holds."""
        self._check("DeleteItem", call)
        place = _place(call["Key"])
        old = self._standing(place)
        self._must_hold("DeleteItem", call, old)
        self._write(place, None)
        return {"Attributes": old} if old is not None and call.get("ReturnValues") == "ALL_OLD" else {}

    def update_item(self, **call: Any) -> dict[str, Any]:
        """Change attributes of an item, if its condition holds; one that isn't there is made."""
        self._check("UpdateItem", call)
        place = _place(call["Key"])
        old = self._standing(place)
        self._must_hold("UpdateItem", call, old)
        before: Item = old if old is not None else call["Key"]
        new, scope = dict(before), _scope(call)
        try:
            for change in update(call["UpdateExpression"]):
                change(new, before, scope)
        except ValueError as error:
            raise refusal("ValidationException", "UpdateItem", str(error)) from error
        self._write(place, new)
        return {"Attributes": new} if call.get("ReturnValues") == "ALL_NEW" else {}

    def batch_write_item(self, **call: Any) -> dict[str, Any]:
        """Write many items; some may be handed back unprocessed."""
        self._check("BatchWriteItem", call)
        ((table, requests),) = call["RequestItems"].items()
        done = self._done_of(len(requests))
        for request in requests[:done]:
            if "PutRequest" in request:
                self._write(_place(request["PutRequest"]["Item"]), request["PutRequest"]["Item"])
            else:
                self._write(_place(request["DeleteRequest"]["Key"]), None)
        return {"UnprocessedItems": {table: requests[done:]} if done < len(requests) else {}}

    def transact_write_items(self, **call: Any) -> dict[str, Any]:
        """Write all of some items, or none."""
        self._check("TransactWriteItems", call)
        puts = [action["Put"] for action in call["TransactItems"]]
        reasons = [self._cancellation(put) for put in puts]
        if any(reason["Code"] != "None" for reason in reasons):
            raise refusal("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
        for put in puts:
            self._write(_place(put["Item"]), put["Item"])
        return {}

    def expire(self, now_ms: int) -> list[Item]:
        """Delete what is past its time to live, as DynamoDB does within days; return what it was."""
        gone = [
            item for item in self.all_items() if "expires_at" in item and int(item["expires_at"]["N"]) < now_ms // 1000
        ]
        for item in gone:
            self._write(_place(item), None)
        return gone

    # What the calls have in common

    def _check(self, operation: str, call: Call) -> None:
        if self.checks_limits:
            check("dynamodb", operation, call)

    def _done_of(self, size: int) -> int:
        return max(0, min(size, self.nature.done_of(size)))

    def _standing(self, place: Place) -> Item | None:
        partition = self.partitions.get(place[0])
        return partition.items.get(place[1]) if partition else None

    def _read(self, place: Place, *, is_consistent: bool) -> Item | None:
        if not is_consistent and place in self.recent:
            until_ms, old = self.recent[place]
            if self.clock() < until_ms:
                return old
        return self._standing(place)

    def _table_rows(self, pk: str, low: Any, *, is_consistent: bool) -> Iterable[tuple[Any, Item]]:
        partition = self.partitions.get(pk)
        if partition is None:
            return []
        start = 0 if low is None else bisect_left(partition.sort_keys, low)
        rows = [(sk, partition.items[sk]) for sk in partition.sort_keys[start:]]
        if is_consistent or not self.recent:
            return rows
        seen = ((sk, self._read((pk, sk), is_consistent=False)) for sk, _ in rows)
        return [(sk, item) for sk, item in seen if item is not None]

    def _index_rows(self, bucket: str, low: Any) -> Iterable[tuple[Any, Item]]:
        self.index.catch_up(self.clock())
        entries = self.index.buckets.get(bucket, [])
        start = 0 if low is None else bisect_left(entries, (low, "", ""))
        return [(entry[0], _entry_item(entry, bucket)) for entry in entries[start:]]

    def _page(self, items: list[Item], call: Call, scope: Scope) -> dict[str, Any]:
        start = call.get("ExclusiveStartKey")
        behind = (at for at, item in enumerate(items) if start is None or _is_behind(item, start, call))
        begin = next(behind, len(items))
        size = min(call.get("Limit", 1_000_000), self.nature.page_items())
        page = items[begin : begin + size]
        matches = condition(call["FilterExpression"]) if "FilterExpression" in call else None
        found = [item for item in page if matches is None or matches(item, scope)]
        answer: dict[str, Any] = {"Count": len(found), "ScannedCount": len(page)}
        if call.get("Select") != "COUNT":
            answer["Items"] = [_projected(item, call) for item in found]
        if begin + size < len(items) or (page and len(page) == call.get("Limit")):
            answer["LastEvaluatedKey"] = _key_of(page[-1], has_index="IndexName" in call)
        return answer

    def _must_hold(self, operation: str, call: Call, old: Item | None) -> None:
        if "ConditionExpression" in call and not condition(call["ConditionExpression"])(old or {}, _scope(call)):
            shows = call.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old is not None
            more = {"Item": old} if shows else {}
            raise refusal("ConditionalCheckFailedException", operation, "The conditional request failed", **more)

    def _cancellation(self, put: Call) -> dict[str, Any]:
        try:
            self._must_hold("Put", put, self._standing(_place(put["Item"])))
        except ClientError as error:
            standing: Any = error.response
            found = {"Item": standing["Item"]} if "Item" in standing else {}
            return {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", **found}
        return {"Code": "None"}

    def _write(self, place: Place, item: Item | None) -> None:
        pk, sk = place
        if self.checks_limits and item is not None and item_bytes(item) > 400 * 1024:
            raise BeyondLimit(f"item {pk}/{sk} is too large")
        lag_ms = self.nature.lag_ms()
        if lag_ms:
            self.recent[place] = (self.clock() + lag_ms, self._standing(place))
        else:
            self.recent.pop(place, None)
        if item is not None:
            self.partitions.setdefault(pk, _Partition()).put(sk, item)
        elif pk in self.partitions:
            self.partitions[pk].remove(sk)
        entry = _entry_of(item)
        if entry is None and place not in self.index.entries and not self.index.pending:
            return
        if lag_ms or self.index.pending:
            self.index.pending.append((self.clock() + lag_ms, place, entry))
        else:
            self.index.put(place, entry)


def _place(item: Item) -> Place:
    return item["pk"]["S"], item["sk"]["S"]


def _scope(call: Call) -> Scope:
    return Scope(call.get("ExpressionAttributeNames", _NO_NAMES), call.get("ExpressionAttributeValues", {}))


def _comparable(scope: Scope, name: str | None) -> Any:
    if name is None:
        return None
    value = scope.values[name]
    return int(value["N"]) if "N" in value else value["S"]


def _entry_of(item: Item | None) -> tuple[str, int] | None:
    if item is None or "due_bucket" not in item or "due_at" not in item:
        return None
    return item["due_bucket"]["S"], int(item["due_at"]["N"])


def _entry_item(entry: tuple[int, str, str], bucket: str) -> Item:
    at_ms, pk, sk = entry
    return {"pk": {"S": pk}, "sk": {"S": sk}, "due_bucket": {"S": bucket}, "due_at": {"N": str(at_ms)}}


def _key_of(item: Item, *, has_index: bool) -> Item:
    names = ("pk", "sk", "due_bucket", "due_at") if has_index else ("pk", "sk")
    return {name: item[name] for name in names}


def _is_behind(item: Item, start: Item, call: Call) -> bool:
    """Whether an item comes after the one that a page ended with, which may be gone by now."""
    is_forward = call.get("ScanIndexForward", True)
    here, there = _order(item, "IndexName" in call), _order(start, "IndexName" in call)
    return here > there if is_forward else here < there


def _order(item: Item, has_index: bool) -> tuple[Any, ...]:
    if has_index:
        return item["due_bucket"]["S"], int(item["due_at"]["N"]), item["pk"]["S"], item["sk"]["S"]
    return item["pk"]["S"], item["sk"]["S"]


def _projected(item: Item, call: Call) -> Item:
    if "ProjectionExpression" not in call:
        return item
    names = call.get("ExpressionAttributeNames", _NO_NAMES)
    wanted = [names.get(name.strip(), name.strip()) for name in call["ProjectionExpression"].split(",")]
    return {name: item[name] for name in wanted if name in item}

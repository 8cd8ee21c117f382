"""DynamoDB calls on the state table, in plain Python values: what the stores beside this module share."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from keyturn.adapters.failures import code_of, has_met_a_transaction, translated
from keyturn.adapters.process import THIS, Process
from keyturn.errors import Throttled, Unreadable
from keyturn.limits import BATCH_GET_ITEMS_MAX, BATCH_WRITE_ITEMS_MAX

Item = Mapping[str, Any]
"""Attributes as str, int, bytes, bool, and dicts and lists of these; None is left out."""

ItemKey = tuple[str, str]
"""(pk, sk)"""

_ROUNDS_MAX: Final = 8
"""Times that the unprocessed rest of a batch is sent again, waiting 50 ms, 100 ms, ... with full jitter between."""


_MEETINGS_MAX: Final = 4
"""Times that a write is tried which meets a transaction on the same item: that is over in milliseconds."""


@dataclass(frozen=True, slots=True)
class ScannedPage:
    """A page of a scan."""

    items: Sequence[Item]
    scanned: int
    """Items that were read for it."""
    after: str
    """Where the next page begins; empty after the last one."""


class ItemExists(Exception):
    """A conditional write found an item that it may not replace; `item` is what stands there."""

    def __init__(self, item: Item, *, was_sent_again: bool) -> None:
        """Keep the item that stood in the way, and whether the SDK had sent the write before."""
        super().__init__("the condition of a write failed")
        self.item = item
        self.was_sent_again = was_sent_again


@contextmanager
def _conditional() -> Iterator[None]:
    """Raise ItemExists, with what stands there if AWS tells, when the condition of a write doesn't hold."""
    try:
        yield
    except ClientError as error:
        if code_of(error) != "ConditionalCheckFailedException":
            raise
        standing: Any = error.response.get("Item", {})
        raise ItemExists(decode_item(standing), was_sent_again=_was_sent_again(error)) from error


def _was_sent_again(error: ClientError) -> bool:
    return error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


@dataclass(frozen=True, slots=True)
class Table:
    """The state table."""

    client: Any
    name: str
    process: Process = THIS
    """Waits between the rounds of a batch."""

    def get(self, pk: str, sk: str) -> Item | None:
        """Read one item, strongly consistent."""
        with translated("reading an item of the state table"):
            answer = self.client.get_item(TableName=self.name, Key=_key(pk, sk), ConsistentRead=True)
        return decode_item(answer["Item"]) if "Item" in answer else None

    def get_many(self, keys: Iterable[ItemKey], attributes: Sequence[str] = ()) -> dict[ItemKey, Item]:
        """Read many items, strongly consistent, 100 a call; absent ones are left out.

        With `attributes`, only those of each item (and its key) travel; the whole item is billed all the same.
        """
        found: dict[ItemKey, Item] = {}
        only = projection(("pk", "sk", *attributes)) if attributes else {}
        for chunk in chunks(list(dict.fromkeys(keys)), BATCH_GET_ITEMS_MAX):
            request = {self.name: {"Keys": [_key(*key) for key in chunk], "ConsistentRead": True, **only}}
            for answer in self._rounds(self.client.batch_get_item, request, "UnprocessedKeys"):
                for raw in answer.get("Responses", {}).get(self.name, []):
                    item = decode_item(raw)
                    found[item["pk"], item["sk"]] = item
        return found

    def put_many(self, items: Sequence[Item]) -> None:
        """Write many items, 25 a call, overwriting: for immutable ones only. Raises Throttled if a rest stays."""
        for chunk in chunks(items, BATCH_WRITE_ITEMS_MAX):
            request = {self.name: [{"PutRequest": {"Item": encode_item(item)}} for item in chunk]}
            for _ in self._rounds(self.client.batch_write_item, request, "UnprocessedItems"):
                pass

    def put(self, item: Item) -> None:
        """Write an item over whatever stands there."""
        with translated("writing an item of the state table"):
            self.client.put_item(TableName=self.name, Item=encode_item(item))

    def delete_if(self, pk: str, sk: str, condition: str, values: Item) -> bool:
        """Take an item away if `condition` holds; False when it doesn't."""
        try:
            with translated("taking an item of the state table away"), _conditional():
                self.client.delete_item(
                    TableName=self.name,
                    Key=_key(pk, sk),
                    ConditionExpression=condition,
                    ExpressionAttributeValues=encode_values(values),
                )
        except ItemExists:
            return False
        return True

    def put_once(self, item: Item) -> Item | None:
        """Write an item unless one stands there; return the one that stood there, else None."""
        try:
            self.put_if(item, "attribute_not_exists(pk)")
        except ItemExists as occupied:
            return occupied.item
        return None

    def update(
        self, place: ItemKey, expression: str, condition: str | None, values: Item, *, returns_item: bool = True
    ) -> Item:
        """Change attributes of an item if `condition` holds, or in any case; return the whole item, or nothing of it.

        Raises ItemExists with the one in the way, which is empty when there is none.
        """
        only = {"ConditionExpression": condition} if condition else {}
        with translated("changing an item of the state table"), _conditional():
            answer = self.client.update_item(
                TableName=self.name,
                Key=_key(*place),
                UpdateExpression=expression,
                ExpressionAttributeValues=encode_values(values),
                ReturnValues="ALL_NEW" if returns_item else "NONE",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **only,
            )
        return decode_item(answer.get("Attributes", {}))

    def put_if(self, item: Item, condition: str, values: Item | None = None, together: Sequence[Item] = ()) -> None:
        """Write an item if `condition` holds; raises ItemExists with the item in the way.

        Items `together` with it are written in one transaction, all or nothing: 99 at most.
        """
        put: dict[str, Any] = {
            "TableName": self.name,
            "Item": encode_item(item),
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values:
            put["ExpressionAttributeValues"] = encode_values(values)
        try:
            with translated("writing an item of the state table"):
                self._patiently(lambda: self._transact(put, together) if together else self._put(put))
        except ItemExists as occupied:
            # The SDK sends a write again when its answer was lost: then our own item stands in the way. Somebody else
            # may have written the very same item, as whoever decides twice does, but not what goes together with it.
            is_same = dict(occupied.item) == _without_none(item) and all(map(self._stands, together[:1]))
            if not (occupied.was_sent_again and is_same):
                raise

    def _stands(self, item: Item) -> bool:
        return self.get(item["pk"], item["sk"]) == _without_none(item)

    def _patiently(self, write: Callable[[], None]) -> None:
        """Write; again, a little later, while somebody else's transaction is at one of the items."""
        for meeting in range(1, _MEETINGS_MAX):
            try:
                return write()
            except ClientError as error:
                if not has_met_a_transaction(error):
                    raise
                self.process.rest(0.02 * 2**meeting)
        return write()

    def _put(self, put: Mapping[str, Any]) -> None:
        with _conditional():
            self.client.put_item(**put)

    def _transact(self, put: Mapping[str, Any], together: Sequence[Item]) -> None:
        others = [{"Put": {"TableName": self.name, "Item": encode_item(other)}} for other in together]
        try:
            self.client.transact_write_items(TransactItems=[{"Put": put}, *others])
        except ClientError as error:
            reasons: Any = error.response.get("CancellationReasons") or [{}]
            if reasons[0].get("Code") != "ConditionalCheckFailed":
                raise
            standing = decode_item(reasons[0].get("Item", {}))
            raise ItemExists(standing, was_sent_again=_was_sent_again(error)) from error

    def query(self, arguments: Mapping[str, Any], values: Item, limit: int | None = None) -> Iterator[Item]:
        """Yield the items of a Query, page by page, `limit` at most."""
        page = dict(arguments) | {"TableName": self.name, "ExpressionAttributeValues": encode_values(values)}
        left = limit
        while True:
            if left is not None:
                page["Limit"] = left
            with translated("querying the state table"):
                answer = self.client.query(**page)
            items = answer.get("Items", [])
            yield from map(decode_item, items)
            left = None if left is None else left - len(items)
            if "LastEvaluatedKey" not in answer or left == 0:
                return
            page["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def scan_page(self, arguments: Mapping[str, Any], values: Item, after: str) -> "ScannedPage":
        """Read the next page of the whole table, eventually consistent; `after` is what the last page gave, or ""."""
        page = dict(arguments) | {"TableName": self.name, "ExpressionAttributeValues": encode_values(values)}
        if after:
            page["ExclusiveStartKey"] = _key(*json.loads(after))
        with translated("scanning the state table"):
            answer = self.client.scan(**page)
        last = decode_item(answer.get("LastEvaluatedKey", {}))
        return ScannedPage(
            items=[decode_item(raw) for raw in answer.get("Items", [])],
            scanned=answer["ScannedCount"],
            after=json.dumps([last["pk"], last["sk"]]) if last else "",
        )

    def size(self) -> tuple[int, int]:
        """Return how many items the table holds, and their bytes; DynamoDB counts them every six hours or so."""
        with translated("describing the state table"):
            table = self.client.describe_table(TableName=self.name)["Table"]
        return int(table.get("ItemCount", 0)), int(table.get("TableSizeBytes", 0))

    def _rounds(
        self, call: Callable[..., Mapping[str, Any]], request: Mapping[str, Any], rest: str
    ) -> Iterator[Mapping[str, Any]]:
        """Send a batch, then its unprocessed rest, until nothing is left; raises Throttled when something stays."""
        for attempt in range(_ROUNDS_MAX):
            with translated(f"a batch on the state table ({rest})"):
                answer = call(RequestItems=request)
            yield answer
            request = answer.get(rest) or {}
            if not request:
                return
            self.process.rest(0.05 * 2**attempt)
        raise Throttled(f"a batch on the state table: DynamoDB kept returning {rest}")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise Unreadable for an item that isn't as this version writes it; `what` names it for the reader."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Unreadable(
            f"{what} can't be read ({type(error).__name__}: {error}): another version of Keyturn wrote it; deploy that "
            "version, or a later one"
        ) from error


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut a sequence into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def projection(attributes: Iterable[str]) -> dict[str, Any]:
    """Make the arguments that have a read return some attributes only, whatever DynamoDB's reserved words."""
    names = {f"#{name}": name for name in attributes}
    return {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}


def encode_item(item: Item) -> dict[str, Any]:
    """Turn plain values into DynamoDB's attribute values."""
    return {name: _encode(value) for name, value in item.items() if value is not None}


def encode_values(values: Item) -> dict[str, Any]:
    """Turn named values into the ones that an expression refers to: `now` becomes `:now`."""
    return {f":{name}": _encode(value) for name, value in values.items()}


def decode_item(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Turn DynamoDB's attribute values into plain ones."""
    return {name: _decode(value) for name, value in raw.items()}


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _without_none(item: Item) -> dict[str, Any]:
    return decode_item(encode_item(item))


def _encode(value: Any) -> dict[str, Any]:
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": encode_item(value)}
        case list() | tuple():
            return {"L": [_encode(one) for one in value]}
        case _:
            raise TypeError(f"a {type(value).__name__} can't be an attribute of the state table")


def _decode(value: Mapping[str, Any]) -> Any:
    """Read an attribute value; of a kind that Keyturn doesn't write it stays as it came, for whoever passes it over."""
    ((kind, content),) = value.items()
    match kind:
        case "S" | "BOOL":
            return content
        case "N":
            return int(content) if content.lstrip("-").isdecimal() else content
        case "B":
            return bytes(content)
        case "M":
            return decode_item(content)
        case "L":
            return [_decode(one) for one in content]
        case _:
            return value

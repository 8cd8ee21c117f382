"""A line of a file becomes a record of the stream: a CloudEvent as it is, any other JSON object wrapped into one."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from keyturn.core.naming import KEY_CHARACTERS_MAX, is_unicode
from keyturn_cli.errors import BadInput, BadLine

RECORD_BYTES_MAX: Final = 1_048_576
"""Data and partition key together. Kinesis Developer Guide, "Quotas and limits"; more needs a stream setting."""
_LINE_BYTES_MAX: Final = 4 * RECORD_BYTES_MAX
"""Longer ones aren't read to their end; white space and escapes make a line longer than its record."""
SUBJECT: Final = "subject"
STDIN: Final = "-"
_GZIP: Final = b"\x1f\x8b"
"""How every gzip file begins (RFC 1952, 2.3.1), and no JSON does."""

_REQUIRED: Final = ("specversion", "id", "source", "type")


@dataclass(frozen=True, slots=True)
class Record:
    """What is put to the stream."""

    key: str
    data: bytes
    line: int = 0
    """Where it came from, for messages."""

    @property
    def size(self) -> int:
        """Bytes that it counts for with Kinesis."""
        return len(self.data) + len(self.key.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """How an object that is no CloudEvent becomes one: `data` is the object, the other attributes come from here."""

    type: str
    source: str
    id_fields: tuple[str, ...]
    """Dotted fields; their values, joined by ":", make the event's id."""
    time_field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads records from JSON lines."""

    key_field: str = SUBJECT
    """Dotted field of the line's object that holds the ordering key."""
    wrapping: Wrapping | None = None

    def read(self, path: str) -> Iterator[Record]:
        """Yield the records of a file, in order; empty lines are passed over. Raises BadLine at the first bad one."""
        with opened(path) as source:
            try:
                lines = _unpacked(source)
                for number, line in enumerate(iter(partial(lines.readline, _LINE_BYTES_MAX), b""), start=1):
                    if len(line) == _LINE_BYTES_MAX:
                        raise BadLine("longer than any record", source=name_of(path), line=number)
                    if stripped := (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip():
                        yield self._located(stripped, number, path)
            except (OSError, EOFError, zlib.error) as error:
                raise BadInput(f"{name_of(path)} can't be read to its end: {error}") from error

    def record(self, line: bytes, number: int = 0) -> Record:
        """Make a record of one line. Raises BadLine."""
        content = _object(line)
        key = _text(content, self.key_field, "--key")
        _check_key(key, self.key_field)
        data = line if self.wrapping is None else _wrap(content, key, self.wrapping)
        if self.wrapping is None:
            _check_event(content)
        made = Record(key, data, number)
        if made.size > RECORD_BYTES_MAX:
            raise BadLine(f"{made.size:,} bytes, more than a stream takes ({RECORD_BYTES_MAX:,})")
        return made

    def _located(self, line: bytes, number: int, path: str) -> Record:
        try:
            return self.record(line, number)
        except BadLine as error:
            raise BadLine(str(error), source=name_of(path), line=number) from error


def name_of(path: str) -> str:
    """What messages call the input."""
    return "standard input" if path == STDIN else path


def is_read_once(path: str) -> bool:
    """Whether what was read is gone: standard input, and a pipe that has a name, as a shell's `<(...)` has."""
    return path == STDIN or Path(path).is_fifo() or Path(path).is_char_device()


@contextmanager
def opened(path: str) -> Iterator[io.BufferedReader]:
    """Open a file, or standard input. Raises BadInput."""
    if path == STDIN:
        if sys.stdin is None:
            raise BadInput("standard input is closed")
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    try:
        opened = Path(path).open("rb")  # noqa: SIM115  closed below; only its opening is told in these words
    except OSError as error:
        raise BadInput(f"{path} can't be opened: {error.strerror}") from error
    with opened:
        yield opened


def _unpacked(source: io.BufferedReader) -> io.BufferedIOBase:
    """Read through gzip where that is what comes, whatever the file is called: standard input has no name."""
    return gzip.GzipFile(fileobj=source) if source.peek(len(_GZIP)).startswith(_GZIP) else source


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 at byte {error.start + 1}") from error
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadLine("not a JSON object")
    return content


def _check_event(content: Mapping[str, Any]) -> None:
    missing = [name for name in _REQUIRED if not (isinstance(content.get(name), str) and content[name])]
    if missing:
        raise BadLine(
            f"no CloudEvent, {', '.join(missing)} missing or no text. To wrap plain objects: --type, --source and --id"
        )


def _check_key(key: str, field: str) -> None:
    if len(key) > KEY_CHARACTERS_MAX:
        raise BadLine(f"the key in {field!r} has {len(key)} characters, more than {KEY_CHARACTERS_MAX}")
    if not is_unicode(key):
        raise BadLine(f"the key in {field!r} holds half of a surrogate pair, which no UTF-8 can carry")


def _text(content: Mapping[str, Any], field: str, option: str) -> str:
    """Look a dotted field up; a number counts as its text."""
    value: Any = content
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadLine(f"field {field!r} ({option}) is missing, empty or neither text nor a whole number")


def _wrap(content: Mapping[str, Any], key: str, wrapping: Wrapping) -> bytes:
    event = {
        "specversion": "1.0",
        "id": ":".join(_text(content, field, "--id") for field in wrapping.id_fields),
        "source": wrapping.source,
        "type": wrapping.type,
        "subject": key,
        "datacontenttype": "application/json",
    }
    if wrapping.time_field is not None:
        event["time"] = _text(content, wrapping.time_field, "--time")
    try:
        return json.dumps(event | {"data": content}, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise BadLine("holds half of a surrogate pair, which no UTF-8 can carry") from error
    except RecursionError as error:
        raise BadLine("nested too deep") from error

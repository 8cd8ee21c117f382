"""Keeps what the demo found after its engine is gone, as JSON lines to read with anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keyturn_cli.facts import Facts
from keyturn_cli.sample import Expected, Sample, Trouble

SAMPLE_FILE = "sample.jsonl"
LEDGER_FILE = "ledger.jsonl"


def save_evidence(folder: Path, sample: Sample, facts: Facts) -> Path:
    """Write the sample's ordinary events, the workers' ledger, quarantine and attempts; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = sorted(facts.history.effects, key=lambda effect: (effect.place.key, effect.turn))
    _write(folder / LEDGER_FILE, (_effect(asdict(effect)) for effect in ledger))
    _write(folder / "quarantine.jsonl", (_effect(asdict(found)) for found in facts.quarantined))
    _write(folder / "attempts.jsonl", (asdict(attempt) for attempt in facts.attempts))
    events = [one.data for one in sample.records if one.expected is Expected.RUN and one.trouble is Trouble.NONE]
    (folder / SAMPLE_FILE).write_bytes(b"\n".join(events) + b"\n")
    return folder


def _effect(item: Mapping[str, Any]) -> dict[str, Any]:
    """Key and position first, instead of the place that holds both."""
    key, position = item["place"]
    return {"key": key, "position": position} | {name: value for name, value in item.items() if name != "place"}


def _write(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")

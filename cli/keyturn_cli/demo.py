"""`keyturn demo`: the whole system on this machine, from an empty engine to a checked report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer
from keyturn_local.engine import Engine, start_engine
from keyturn_local.poller.source import event_source
from keyturn_local.settings import LocalSettings
from keyturn_local.stack import build, deploy

from keyturn.adapters.schemas import load_routes
from keyturn_cli.demo_report import Outcome, Times, print_report
from keyturn_cli.errors import CliError
from keyturn_cli.evidence import save_evidence
from keyturn_cli.facts import gather
from keyturn_cli.following import follow
from keyturn_cli.metrics import read_metrics
from keyturn_cli.progress import Watch
from keyturn_cli.project import local_settings
from keyturn_cli.putter import Put, Putter
from keyturn_cli.records import Record
from keyturn_cli.sample import SampleRecord, sample_stream
from keyturn_cli.screen import Screen
from keyturn_cli.store import Store
from keyturn_cli.target import Target, local_target
from keyturn_cli.ticker import ticking

WATCHDOG_EVERY_S = 2.0
"""Besides its schedule, which knows minutes only: the sample's faults would make the demo minutes longer."""


def demo(
    limit: Annotated[
        int, typer.Option(min=10, help="Give up when the sample isn't through after so many seconds.")
    ] = 240,
) -> None:
    """Run the whole system on this machine: engine, real sam build and deploy, sample events, check, report.

    Example: keyturn demo

    Nothing stays running. KEYTURN_PORT changes the engine's port (4566).
    """
    settings, screen = local_settings(), Screen()
    load_routes()
    began_s = time.monotonic()
    screen.line("Keyturn demo: an engine of its own, the real sam build and deploy, and a stream with awkward records.")
    outcome = _run(settings, screen, limit_s=limit)
    screen.line(f"  everything stopped, {time.monotonic() - began_s:.0f} s in all")
    broken = print_report(screen, outcome)
    if broken:
        raise CliError(f"{broken} checks failed, see BROKEN above; what was found lies in {outcome.evidence}")


def _run(settings: LocalSettings, screen: Screen, *, limit_s: float) -> Outcome:
    """Everything between the first and the last process; all of them end with it, however it ends."""
    sample = sample_stream()
    with ExitStack() as running:
        engine = _begin(settings, screen, running)
        target = local_target(settings)
        running.enter_context(_reading(settings, target))
        watchdog = running.enter_context(ticking(target, target.outputs.watchdog_function_name, WATCHDOG_EVERY_S))
        puts = _put(target, sample.records, screen)
        store = Store.of(target)
        watch = Watch(store, since_ms=puts[0].at_ms)
        watch.add(puts)
        began_s = time.monotonic()
        follow(watch, screen, limit_s=limit_s, is_alive=lambda: _trouble(engine))
        processed_s = time.monotonic() - began_s
        screen.done("all records through", processed_s)
        with screen.step("reading the ledger and the state table"):
            facts = gather(store, puts, is_whole=True, is_local=True)
            metrics = read_metrics(target, since_ms=puts[0].at_ms)
            evidence = save_evidence(settings.state_dir / "demo", sample, facts)
    return Outcome(
        sample=sample,
        puts=tuple(puts),
        facts=facts,
        metrics=metrics,
        times=Times(processed_s=processed_s, watchdog_every_s=WATCHDOG_EVERY_S, watchdog_invoked=watchdog.invoked),
        evidence=evidence,
    )


def _begin(settings: LocalSettings, screen: Screen, running: ExitStack) -> Engine:
    with screen.step(f"engine on port {settings.port}"):
        engine = running.enter_context(start_engine(settings))
    with screen.step("sam build"):
        build(settings)
    with screen.step("sam deploy"):
        deploy(settings)
    return engine


@contextmanager
def _reading(settings: LocalSettings, target: Target) -> Iterator[None]:
    """Read the stream for the dispatcher, in threads of this process; its log goes where `keyturn up` keeps it."""
    log = logging.getLogger("keyturn.poller")
    to_file = logging.FileHandler(settings.state_dir / "poller.log", mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(to_file)
    log.setLevel(logging.INFO)
    log.propagate = False
    source = event_source(settings, target.outputs.dispatcher_function_name)
    source.start()
    try:
        yield
    finally:
        source.stop(timeout_s=1.0)
        log.removeHandler(to_file)
        to_file.close()


def _put(target: Target, sample: Sequence[SampleRecord], screen: Screen) -> list[Put]:
    with screen.step(f"{len(sample):,} sample records into the stream"):
        records = (Record(one.key, one.data, number) for number, one in enumerate(sample, start=1))
        putter = Putter(target.client("kinesis"), target.outputs.stream_name)
        return [put for call in putter.put(records) for put in call]


def _trouble(engine: Engine) -> str | None:
    return None if engine.running else f"the engine ended by itself, see {engine.settings.state_dir / 'engine.log'}"

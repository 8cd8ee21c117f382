"""`keyturn push`: JSON lines into the stream, in order within each key."""

from __future__ import annotations

import sys
from functools import partial
from time import monotonic
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from keyturn_local import state
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from keyturn_cli.errors import BadInput, CliError
from keyturn_cli.facts import gather
from keyturn_cli.following import follow
from keyturn_cli.given_up import GivenUp
from keyturn_cli.looking.wording import counted
from keyturn_cli.progress import Watch
from keyturn_cli.project import local_settings
from keyturn_cli.putter import Put, Putter
from keyturn_cli.records import SUBJECT, Reader, Wrapping, is_read_once, name_of
from keyturn_cli.report import print_checks, run_checks, what_no_check_saw, what_wants_a_person
from keyturn_cli.screen import Screen
from keyturn_cli.store import Store
from keyturn_cli.target import AwsOptions, Target, find_target


def push(
    file: Annotated[str, typer.Argument(help="JSON lines, gzip too; - reads standard input.")],
    key: Annotated[str, typer.Option(help="Dotted field that holds the ordering key.")] = SUBJECT,
    event_type: Annotated[str | None, typer.Option("--type", help="Wrap: the events' type.")] = None,
    source: Annotated[str | None, typer.Option(help="Wrap: the events' source.")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="Wrap: fields that make the id, a,b.")] = None,
    time: Annotated[str | None, typer.Option(help="Wrap: field that holds the time (RFC 3339).")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all is done, then check order and the rest.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --wait: give up after so many seconds.")] = 900,
    given_up: Annotated[
        bool, typer.Option("--given-up", help="FILE is an object of the failure bucket: put its records again.")
    ] = False,
    stack_name: Annotated[str | None, typer.Option(help="The stack, if not keyturn.")] = None,
    region: Annotated[str | None, typer.Option(help="A stack on AWS: its region.")] = None,
    profile: Annotated[str | None, typer.Option(help="A stack on AWS: a profile of the AWS CLI.")] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="Another emulator's address.")] = None,
) -> None:
    """Put JSON lines into the stream, keeping the order of each key.

    A line is a CloudEvent, or any object that --type, --source and --id wrap into one.

    Examples:

      keyturn push orders.jsonl --wait

      keyturn push log.jsonl.gz --key case --id case,n --type permit.activity --source /permits --time time

      aws s3 cp s3://BUCKET/OBJECT - | keyturn push - --given-up --region eu-west-1

    gzip is known by its content. From a pipe, events go once 10,000 of them or all were read.

    Without --region, --profile or --endpoint-url it goes to the running local engine; if none is up, to where
    AWS_REGION, AWS_PROFILE or AWS_ENDPOINT_URL point.
    """
    wrapping = _wrapping(event_type, source, event_id, time)
    if given_up and (wrapping or wait or key != SUBJECT):
        raise typer.BadParameter(
            "records go as they were: leave --key, --wait and what wraps out", param_hint="--given-up"
        )
    reader = GivenUp() if given_up else Reader(key_field=key, wrapping=wrapping)
    screen = Screen()
    total = None if is_read_once(file) else _count(reader, file)
    options = AwsOptions(stack_name=stack_name, region=region, profile=profile, endpoint_url=endpoint_url)
    target = find_target(options, local_settings())
    puts = _send(reader, file, total, target, screen)
    keys = {put.record.key for put in puts}
    screen.line(f"Put {counted(len(puts), 'event')} of {counted(len(keys), 'key')} into {_name(target)}.")
    if wait:
        _wait_and_check(target, puts, limit, screen)


def _wrapping(event_type: str | None, source: str | None, event_id: str | None, time: str | None) -> Wrapping | None:
    if event_type and source and event_id:
        return Wrapping(type=event_type, source=source, id_fields=tuple(event_id.split(",")), time_field=time)
    if event_type or source or event_id or time:
        raise typer.BadParameter("wrapping plain objects takes --type, --source and --id together")
    return None


def _count(reader: Reader | GivenUp, file: str) -> int:
    """Read a whole file before anything is put, so that what is wrong in it is said first."""
    total = sum(1 for _ in reader.read(file))
    if not total:
        raise BadInput(f"{name_of(file)} holds no events")
    return total


def _name(target: Target) -> str:
    return f"stream {target.outputs.stream_name} at {target.where}"


def _send(reader: Reader | GivenUp, file: str, total: int | None, target: Target, screen: Screen) -> list[Put]:
    """Put everything with a progress bar; whatever ends it early, it is said how much is in the stream already."""
    putter = Putter(target.client("kinesis"), target.outputs.stream_name)
    puts: list[Put] = []
    columns = (TextColumn("  put"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=screen.console, disable=not screen.is_live, transient=True) as progress:
            task = progress.add_task("put", total=total)
            for call in putter.put(reader.read(file)):
                puts.extend(call)
                progress.update(task, completed=len(puts))
    except (CliError, ClientError, BotoCoreError) as error:
        raise CliError(f"{str(error).removesuffix('.')}. {_told(len(puts))}") from error
    except SystemExit:  # Ctrl-C, see main
        print(_told(len(puts)), file=sys.stderr)
        raise
    _check_whole(file, len(puts), total)
    return puts


def _check_whole(file: str, put: int, total: int | None) -> None:
    if total is not None and put < total:
        raise BadInput(f"{name_of(file)} was changed meanwhile: {put:,} of its {total:,} events were put")
    if not put:
        raise BadInput(f"{name_of(file)} holds no events")


def _told(put: int) -> str:
    """What is in the stream for certain: a call whose answer never came may have put more."""
    return (
        f"{put:,} events are known to be in the stream; push the whole again, what is there already is dropped as a"
        " duplicate then"
    )


def _trouble(target: Target) -> str | None:
    """Why nothing will become of what was put, if the local engine or its event source ended.

    One that is too busy to answer at once is waited for.
    """
    if not target.is_local:
        return None
    noted = state.read(local_settings().state_dir)
    if noted is None or not noted.engine.alive:
        return "the local engine ended"
    if noted.poller is not None and not noted.poller.alive:
        return "the event source ended, and what is put waits in the stream; start it again: make up"
    return None


def _wait_and_check(target: Target, puts: list[Put], limit_s: int, screen: Screen) -> None:
    store = Store.of(target)
    watch = Watch(store, since_ms=puts[0].at_ms)
    watch.add(puts)
    began_s = monotonic()
    follow(watch, screen, limit_s=limit_s, is_alive=partial(_trouble, target))
    screen.done("all records through", monotonic() - began_s)
    history = gather(store, puts, is_whole=False, is_local=target.is_local).history
    checks = run_checks(history)
    print_checks(screen, checks)
    for told in (what_wants_a_person(history), what_no_check_saw(history)):
        if told:
            screen.line(told)
    if not all(check.holds for check in checks):
        raise CliError(f"{sum(not check.holds for check in checks)} of {len(checks)} checks failed, see above")

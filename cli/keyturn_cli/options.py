"""What the operator's commands have in common: which stack, how to print, and asking before something is changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from inspect import Signature, signature
from typing import Annotated, Any, Final

import typer

from keyturn_cli.errors import CliError
from keyturn_cli.looking.wording import printable
from keyturn_cli.project import local_settings
from keyturn_cli.screen import Screen
from keyturn_cli.target import AwsOptions, Target, find_target


class Output(StrEnum):
    """How a command prints what it found."""

    TEXT = "text"
    JSON = "json"


StackName = Annotated[str | None, typer.Option("--stack-name", help="The stack, if not keyturn.")]
Region = Annotated[str | None, typer.Option("--region", help="A stack on AWS: its region.")]
Profile = Annotated[str | None, typer.Option("--profile", help="A stack on AWS: a profile of the AWS CLI.")]
EndpointUrl = Annotated[str | None, typer.Option("--endpoint-url", help="Another emulator's address.")]
AsOutput = Annotated[Output, typer.Option("--output", help="text for people, json for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before changing anything.")]
Reason = Annotated[str, typer.Option("--reason", "--because", "-r", help="Why; recorded with who and when.")]
"""`--because` says why in every command; where there is nothing to select by reason, `--reason` does too."""


REASON_CHARACTERS_MAX: Final = 500


def on_stack(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which stack it is about; it gets them as its `where`."""

    @wraps(command)
    def with_options(**given: Any) -> None:
        options = {name: given.pop(name, None) for name in _STACK_OPTIONS}
        command(where=AwsOptions(**options), **given)

    own = [one for one in signature(command, eval_str=True).parameters.values() if one.name != "where"]
    parameters = [*own, *_STACK_OPTIONS.values()]
    seen: Any = with_options  # by typer, which reads both
    seen.__signature__ = Signature(parameters)
    seen.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options


def _stack_options(
    *,
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None: ...


_STACK_OPTIONS: Final = signature(_stack_options, eval_str=True).parameters


def target_of(where: AwsOptions) -> Target:
    """The stack that a command's options name. Raises NoTarget."""
    return find_target(where, local_settings())


def show(output: Output, content: Mapping[str, Any], text: Callable[[Screen], None]) -> None:
    """Print a result: `content` as one JSON document, or what `text` draws."""
    if output is Output.JSON:
        write_json(content)
    else:
        text(Screen())


def write_json(content: Any) -> None:
    """Print a JSON document. Letters are readable where the output can carry them; what isn't printable is escaped."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    has_letters = (sys.stdout.encoding or "utf").lower().startswith("utf")
    sys.stdout.write("".join(one if _stays(one, has_letters) else json.dumps(one)[1:-1] for one in text) + "\n")


def _stays(one: str, has_letters: bool) -> bool:
    return one == "\n" or (one.isprintable() and (has_letters or one.isascii()))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is changed. Raises CliError when the answer is no, or when nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} Nobody can be asked here: say --yes. Nothing was changed")
    if not typer.confirm(printable(question), err=True):
        raise CliError("nothing was changed")


def checked_reason(reason: str, option: str = "--reason") -> str:
    """A reason that can be recorded. Raises CliError when it is empty or too long."""
    text = reason.strip()
    if not 1 <= len(text) <= REASON_CHARACTERS_MAX:
        raise CliError(
            f"{option} must have 1 to {REASON_CHARACTERS_MAX} characters, since it is recorded with the change"
        )
    return text

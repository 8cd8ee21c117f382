"""`keyturn up`: the stack on this machine, for one's own work."""

from __future__ import annotations

from dataclasses import replace

from keyturn_local.background import start_event_source
from keyturn_local.engine import Engine, find_engine, start_engine
from keyturn_local.errors import AlreadyUp, EngineFailed, LocalError
from keyturn_local.settings import LocalSettings
from keyturn_local.stack import StackOutputs, build, deploy, stack_outputs
from keyturn_local.state import EngineState, Noted

from keyturn.adapters.schemas import load_routes
from keyturn_cli.project import local_settings
from keyturn_cli.screen import Screen


def up() -> None:
    """Start the local engine, build and deploy the stack, keep it running. Again: deploy what was changed since.

    Example: keyturn up && keyturn push orders.jsonl --wait

    KEYTURN_PORT changes the engine's port (4566), KEYTURN_STACK the stack's name (keyturn).
    """
    settings, screen = local_settings(), Screen()
    load_routes()  # deployed, a mistake in them would fail every record that comes
    running = find_engine(settings)
    if running is not None and running.poller is not None:
        settings = replace(settings, port=running.port)
        outputs = _deploy_again(settings, running, running.poller, screen)
    else:
        screen.line("Keyturn on this machine:")
        outputs = bring_up(settings, screen)
    _explain(settings, outputs, screen)


def bring_up(settings: LocalSettings, screen: Screen) -> StackOutputs:
    """Start everything in the background; nothing stays when a step fails."""
    with screen.step(f"engine on port {settings.port}"):
        engine = start_engine(settings, detached=True)
    try:
        outputs = _build_and_deploy(settings, screen, engine)
        _start_event_source(settings, outputs, screen)
        engine.keep()
    except BaseException as error:
        ended = not engine.running
        engine.stop()
        if ended and isinstance(error, LocalError):
            raise _ended(settings) from error
        raise
    return outputs


def _ended(settings: LocalSettings) -> EngineFailed:
    return EngineFailed(
        f"the engine ended meanwhile, by `make down` or by itself. Log: {settings.state_dir}/engine.log"
    )


def _deploy_again(settings: LocalSettings, running: EngineState, poller: Noted, screen: Screen) -> StackOutputs:
    if running.stack_name not in ("", settings.stack_name):
        raise AlreadyUp(
            f"stack {running.stack_name!r} is up, and nothing would read the stream of {settings.stack_name!r} beside"
            " it. Stop it first: make down. Or bring the other one up in another clone, with a KEYTURN_PORT of its own"
        )
    screen.line("Keyturn is up already on this machine; what was changed is deployed to it:")
    outputs = _build_and_deploy(settings, screen)
    if not poller.alive:
        _start_event_source(settings, outputs, screen)
    return outputs


def _start_event_source(settings: LocalSettings, outputs: StackOutputs, screen: Screen) -> None:
    with screen.step("event source: reads the stream, calls the dispatcher"):
        start_event_source(settings, outputs.dispatcher_function_name)


def _build_and_deploy(settings: LocalSettings, screen: Screen, engine: Engine | None = None) -> StackOutputs:
    with screen.step("sam build"):
        build(settings)
    if engine is not None and not engine.running:
        raise _ended(settings)  # another one may have its port by now
    with screen.step("sam deploy"):
        deploy(settings)
        return stack_outputs(settings)


def _explain(settings: LocalSettings, outputs: StackOutputs, screen: Screen) -> None:
    screen.line(
        f"""
Up: stack {settings.stack_name} at {settings.endpoint_url}, stream {outputs.stream_name}

  push events      make push FILE=orders.jsonl ARGS='--wait'
  use the AWS CLI  export AWS_ENDPOINT_URL={settings.endpoint_url} AWS_DEFAULT_REGION={settings.region} \\
                          AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
                   aws dynamodb scan --table-name {outputs.state_table_name} --max-items 5
  logs             {settings.state_dir}/engine.log (engine and functions), poller.log (event source)
                   aws logs tail /aws/lambda/{outputs.dispatcher_function_name}
  stop             make down"""
    )

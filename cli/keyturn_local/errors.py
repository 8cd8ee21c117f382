"""What can go wrong on one's own machine. Every message is one line: what, where, what to do.

    LocalError
    ├── PythonTooOld, ToolMissing           the machine lacks something
    ├── BadSetting                          an environment variable can't be used
    ├── EngineError
    │   ├── PortTaken                       somebody else listens on the engine's port
    │   ├── AlreadyUp                       an engine of this project runs
    │   ├── HalfUp                          a part of it runs, the other part died
    │   └── EngineFailed                    it didn't start, or stopped by itself
    ├── StackError
    │   ├── ToolFailed                      sam build or sam deploy failed
    │   └── StackMissing, OutputMissing     nothing (or something else) is deployed
    └── MappingError                        the deployed event source mapping can't be run locally

The command line turns each into `Error: <message>` and exit code 1, without a traceback.
"""

from __future__ import annotations


class LocalError(Exception):
    """Base class: its text is meant for the user."""


class PythonTooOld(LocalError):
    """The interpreter is older than what the project supports."""


class ToolMissing(LocalError):
    """A program that should lie beside this interpreter isn't there."""


class BadSetting(LocalError):
    """An environment variable holds something that can't be used."""


class EngineError(LocalError):
    """The embedded engine isn't in the state it was expected in."""


class PortTaken(EngineError):
    """Another program listens on the engine's port."""


class AlreadyUp(EngineError):
    """An engine of this project runs already."""


class HalfUp(EngineError):
    """One of engine and event source runs, the other one is dead."""


class EngineFailed(EngineError):
    """The engine ended, or never answered."""


class StackError(LocalError):
    """Building, deploying or finding the stack failed."""


class ToolFailed(StackError):
    """A tool's run ended with an error; `lines` are the last ones it wrote."""

    def __init__(self, message: str, lines: tuple[str, ...]) -> None:
        super().__init__(message)
        self.lines = lines


class StackMissing(StackError):
    """No such stack on this engine, or it isn't complete."""


class OutputMissing(StackError):
    """The stack has no such output: it was deployed from another template."""


class MappingError(LocalError):
    """The event source mapping is missing, or asks for what the local event source can't do."""

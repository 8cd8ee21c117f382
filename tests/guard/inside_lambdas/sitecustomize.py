"""Python imports this module by its name when it starts, if its folder is on PYTHONPATH.

The end-to-end tests put it there for the engine and so for the Lambda processes that the engine starts: the calls of
deployed functions are checked as those of the tests are. Nothing of it is deployed.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path

_GUARD = Path(__file__).parents[1]


class _GuardBotocore(importlib.abc.MetaPathFinder):
    """Installs the guard when botocore.handlers is first imported: processes that need no AWS pay nothing."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "botocore.session":
            sys.meta_path.remove(self)
            _load_hook().install()
        return None


def _load_hook() -> types.ModuleType:
    """Load the guard as a package of its own name: the folder `tests` isn't on a Lambda's path."""
    spec = importlib.util.spec_from_file_location(
        "keyturn_guard", _GUARD / "__init__.py", submodule_search_locations=[str(_GUARD)]
    )
    assert spec is not None
    sys.modules["keyturn_guard"] = importlib.util.module_from_spec(spec)
    return importlib.import_module("keyturn_guard.hook")


if os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
    if "botocore.session" in sys.modules:  # a fork has it from the start
        _load_hook().install()
    else:
        sys.meta_path.insert(0, _GuardBotocore())

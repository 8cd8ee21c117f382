"""Unpacks each layer once for all of MiniStack's function processes, instead of once for each of them.

The first process that imports a module leaves its byte code beside it, so later ones needn't compile it either: half of
the time that a fork's imports take. As on AWS, no function has reason to write into a layer.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

_LAYER: Final = "layer_"
"""How MiniStack begins the name of a layer's archive, and of nothing else's."""


def share_layers(module: Any) -> None:
    """Have a module of MiniStack's unpack layers into one folder each, and link to it."""
    unpacking = threading.Lock()

    class Archive(zipfile.ZipFile):
        def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
            name = Path(self.filename or "")
            if not name.name.startswith(_LAYER) or path is None:
                super().extractall(path, members, pwd)
                return
            shared = Path(tempfile.gettempdir()) / f"keyturn-{hashlib.sha256(name.read_bytes()).hexdigest()}"
            with unpacking:
                if not shared.is_dir():
                    fresh = tempfile.mkdtemp(dir=shared.parent)  # what is half done has another name
                    super().extractall(fresh)
                    Path(fresh).rename(shared)
            for entry in shared.iterdir():
                (Path(path) / entry.name).symlink_to(entry)

    module.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": Archive})

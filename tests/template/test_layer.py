"""The one layer: built here, it runs on Lambda's processors and with this machine's own interpreter."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.template.stack import ROOT, source


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sam build` makes of src/, in a copy as SAM takes one."""
    return build(tmp_path_factory.mktemp("a folder with spaces"))


def build(folder: Path) -> Path:
    """Run the makefile's target as SAM CLI does. The interpreter lies in that folder, too, as a project's own does."""
    copied, artifacts, python = folder / "src", folder / "artifacts", folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    shutil.copytree(ROOT / "src", copied)
    artifacts.mkdir()
    environment = {**os.environ, "ARTIFACTS_DIR": str(artifacts), "KEYTURN_PYTHON": str(python)}
    done = subprocess.run(
        ["make", "build-KeyturnLayer"], cwd=copied, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return artifacts / "python"


def digests(folder: Path) -> dict[str, str]:
    """Path -> digest of every file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_compiled_modules_are_there_for_every_interpreter(layer: Path) -> None:
    """Lambda's Python on both processors, and this one, side by side."""
    runtime = "".join(re.findall(r"\d+", source()["Globals"]["Function"]["Runtime"]))
    assert {path.name for path in (layer / "rpds").glob("*.so")} == {
        f"rpds.cpython-{runtime}-x86_64-linux-gnu.so",
        f"rpds.cpython-{runtime}-aarch64-linux-gnu.so",
        f"rpds{sysconfig.get_config_var('EXT_SUFFIX')}",
    }


def test_nothing_else_is_compiled(layer: Path) -> None:
    """A compiled variant of a pure package would run on one processor only."""
    compiled = {path.relative_to(layer).parts[0] for path in layer.rglob("*.so")}
    assert compiled == {"rpds"}


def test_the_layer_holds_the_library_and_no_sdk(layer: Path) -> None:
    """boto3 comes with the runtime; byte code would be another machine's."""
    packages = {path.name for path in layer.iterdir()}
    assert {
        "keyturn",
        "keyturn_routes",
        "keyturn_sample",
        "jsonschema",
        "aws_lambda_powertools",
        "aws_kinesis_agg",
    } <= packages
    assert not packages & {"boto3", "botocore", "bin", "keyturn_cli"}
    assert (layer / "keyturn_routes" / "routes.json").is_file()
    assert not list(layer.rglob("__pycache__"))


def test_two_builds_are_the_same(layer: Path, tmp_path: Path) -> None:
    """The same sources make the same layer, so a deploy without a change changes nothing."""
    assert digests(build(tmp_path)) == digests(layer)


def test_this_interpreter_can_import_it(layer: Path) -> None:
    """The local engine runs handlers with this interpreter, from the layer alone."""
    code = "import jsonschema, rpds, aws_kinesis_agg, google.protobuf, keyturn; print(rpds.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", code],
        env={"PYTHONPATH": str(layer)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(layer) in done.stdout

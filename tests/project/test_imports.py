"""Who may import whom: the contracts in pyproject.toml, and what fresh processes really load."""

import subprocess
import sys
from pathlib import Path

from tools.measure import run_with_only

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted(path.stem for path in (ROOT / "src/keyturn/core").glob("*.py") if path.stem != "__init__")


def test_dependencies_point_one_way() -> None:
    """core <- adapters <- shell <- workers; the local engine imports neither the functions nor the library."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_core_needs_the_standard_library_only() -> None:
    """The protocol can be read, run and tested where nothing is installed."""
    code = "\n".join(f"import keyturn.core.{module}" for module in [*CORE])
    done = run_with_only([ROOT / "src"], code)
    assert done.returncode == 0, done.stderr


def test_a_worker_loads_no_schema_library() -> None:
    """A layer's size costs disk, its imports cost every worker's cold start."""
    heavy = {"jsonschema", "referencing", "rpds", "aws_kinesis_agg", "google.protobuf", "keyturn_routes"}
    code = f"import sys, keyturn.workers; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

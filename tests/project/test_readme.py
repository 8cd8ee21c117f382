"""The README's example of one's own workflow is whole and true: put where it says, it passes every check."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from keyturn_cli.records import Reader, Wrapping

from keyturn.core.route import parse_routes
from tools.lint_statemachines.__main__ import lint

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^`([^`]+)`[^\n]*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COPIED = ("template.yaml", "samconfig.toml", "statemachines", "src", "functions")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the example in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    for name, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        _put(folder, name, text)
    return folder


def _put(folder: Path, name: str, text: str) -> None:
    file = folder / name
    if name.endswith("routes.json"):
        routes, entry = json.loads(file.read_text(encoding="utf-8")), json.loads(text)
        others = [route for route in routes["routes"] if route["name"] != entry["name"]]
        file.write_text(json.dumps(routes | {"routes": [*others, entry]}), encoding="utf-8")
    elif name == "template.yaml":
        template = file.read_text(encoding="utf-8").replace(text, "")  # who followed the page has it already
        file.write_text(template.replace("\nOutputs:\n", f"\n{text}\nOutputs:\n"), encoding="utf-8")
    elif text.startswith("sed "):
        subprocess.run(["sh", "-ec", text], cwd=folder, check=True)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def test_the_example_has_all_its_parts(project: Path) -> None:
    """Worker, schema, state machine, and an entry in routes and template."""
    assert (project / "functions/charge/app.py").is_file()
    assert (project / "src/keyturn_routes/schemas/billing.invoice.json").is_file()
    assert "Charge" in (project / "statemachines/invoice.asl.json").read_text(encoding="utf-8")
    assert "InvoiceStandard" in (project / "template.yaml").read_text(encoding="utf-8")


def test_the_examples_workflow_and_timeouts_fit(project: Path) -> None:
    """What `make lint` says of it: nothing."""
    assert lint(project) == []


def test_the_examples_route_takes_its_events(project: Path) -> None:
    """A wildcard route, beside the sample's."""
    routes = parse_routes(json.loads((project / "src/keyturn_routes/routes.json").read_text(encoding="utf-8")))
    route = routes.for_type("billing.invoice.sent")
    assert route is not None
    assert route.name == "invoice"


def run_inside(project: Path, code: str) -> str:
    """Run code with the example's library and worker first on the path; return what it prints."""
    paths = f"import sys; sys.path[:0] = {[str(project / 'functions/charge'), str(project / 'src')]}; "
    done = subprocess.run([sys.executable, "-c", paths + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_examples_schema_and_route_are_read_at_cold_start(project: Path) -> None:
    """The checks that a deployed dispatcher makes before its first batch."""
    code = "from keyturn.adapters.schemas import load_routes; print(load_routes().for_type('billing.invoice.x').name)"
    assert run_inside(project, code) == "invoice"


def test_the_examples_worker_does_what_it_says(project: Path) -> None:
    """It returns what it charged; above its limit it fails for good."""
    code = """
import app
from types import SimpleNamespace as Some
from keyturn import Permanent
charge, step = app.handler.__wrapped__.__wrapped__, Some(idempotency_key="k")
print(charge(Some(data={"amount_cents": 5}), step))
try:
    charge(Some(data={"amount_cents": 1_000_001}), step)
except Permanent:
    print("permanent")
"""
    assert run_inside(project, code).splitlines() == ["{'charged_cents': 5, 'reference': 'k'}", "permanent"]


def test_the_examples_events_are_events(project: Path) -> None:
    """Every line of JSON that the page shows can be pushed; the plain one by the options that stand below it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"""^ +({"specversion".*})$|echo '({.*})'""", readme, re.MULTILINE)
    plain = re.search(r"`({\"case\".*?})`", readme)
    assert plain is not None
    wrapping = Wrapping(type="permit.activity", source="/permits", id_fields=("case", "n"), time_field="time")
    records = [Reader().record("".join(line).encode()) for line in lines]
    records.append(Reader(key_field="case", wrapping=wrapping).record(plain[1].encode()))
    schemas = project / "src/keyturn_routes/schemas"
    for record in records:
        event = json.loads(record.data)
        schema = "billing.invoice" if event["type"].startswith("billing") else event["type"]
        jsonschema.validate(event["data"], json.loads((schemas / f"{schema}.json").read_text(encoding="utf-8")))
    assert len(records) == 4


def test_the_examples_template_is_valid(project: Path) -> None:
    """`sam validate --lint`, as `make lint` runs it."""
    sam = Path(sys.executable).with_name("sam")
    nobody = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    done = subprocess.run(
        [sam, "validate", "--lint"],
        cwd=project,
        env={**os.environ, **nobody, "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

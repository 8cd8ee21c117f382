"""Measures what is deployed: sizes, cold imports, lines, tests.

python -m tools.measure                          # needs a build: sam build, or make up or make demo before
python -m tools.measure --build .aws-sam/build

A cold import is the time a fresh interpreter takes to import a handler from its folder, the layer and boto3, without
byte code, as in a new Lambda environment. It is this machine's time; only its proportions hold elsewhere.
"""

import argparse
import io
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from samcli.yamlhelper import yaml_parse

ROOT: Final = Path(__file__).resolve().parents[1]
BUILDS: Final = (".keyturn/build", ".aws-sam/build")
IMPORTS: Final = 5
PRODUCT: Final = ("src", "cli", "functions")
LIBRARIES: Final = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3")
"""boto3 with what it needs: what Lambda's Python runtime holds besides the standard library."""

_CLOCK: Final = "import time; begin = time.perf_counter(); import app; print((time.perf_counter() - begin) * 1000)"


@dataclass(frozen=True, slots=True)
class Package:
    """A function or layer of a build."""

    logical_id: str
    folder: Path
    is_layer: bool

    @property
    def zipped_bytes(self) -> int:
        """What is uploaded."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in _files(self.folder):
                archive.write(file, file.relative_to(self.folder))
        return len(buffer.getvalue())

    @property
    def bytes(self) -> int:
        """What lies in the Lambda."""
        return sum(file.stat().st_size for file in _files(self.folder))


def packages(build: Path) -> list[Package]:
    """Return what a build's template would deploy."""
    template = yaml_parse((build / "template.yaml").read_text(encoding="utf-8"))
    kinds = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}
    return [
        Package(name, (build / resource["Properties"][folder]).resolve(), folder == "ContentUri")
        for name, resource in template["Resources"].items()
        if (folder := kinds.get(resource["Type"]))
    ]


def site_with_boto3(folder: Path) -> Path:
    """Fill a folder with boto3 and its needs, and nothing else that this environment has."""
    folder.mkdir(parents=True, exist_ok=True)
    installed = Path(sysconfig.get_path("purelib"))
    for name in LIBRARIES:
        if (installed / name).exists():
            (folder / name).symlink_to(installed / name)
    return folder


def run_with_only(paths: Iterable[Path], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the standard library, these paths, and nothing of this environment."""
    return subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-S", "-B", "-c", code],
        env={"PYTHONPATH": ":".join(map(str, paths)), "AWS_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )


def cold_import_ms(paths: list[Path]) -> float:
    """Return the median of some cold imports of `app`."""
    times = []
    for _ in range(IMPORTS):
        done = run_with_only(paths, _CLOCK)
        if done.returncode:
            raise SystemExit(f"Error: {paths[0].name} can't be imported: {done.stderr.splitlines()[-1]}")
        times.append(float(done.stdout))
    return median(times)


def lines(files: Iterable[Path]) -> int:
    """Count lines that aren't empty."""
    return sum(1 for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def collected_tests() -> str:
    """Ask pytest how many tests it finds."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()]
    return last[0].partition(" in ")[0]


def report(build: Path, site: Path) -> Iterator[str]:
    """Yield the report's lines, each as soon as it is known."""
    found = packages(build)
    layers = [package.folder / "python" for package in found if package.is_layer]
    yield f"{'deployed':<24}{'zipped':>12}{'unpacked':>12}{'cold import':>14}"
    for package in found:
        time = "" if package.is_layer else f"{cold_import_ms([package.folder, *layers, site]):,.0f} ms"
        yield f"{package.logical_id:<24}{package.zipped_bytes:>12,}{package.bytes:>12,}{time:>14}"
    yield ""
    yield f"lines of product code   {lines(_python(*PRODUCT)):,} (Python, not empty; {', '.join(PRODUCT)})"
    yield f"lines of test code      {lines(_python('tests')):,}"
    yield f"lines of tools          {lines(_python('tools')):,}"
    yield f"lines of template       {lines([ROOT / 'template.yaml', *(ROOT / 'statemachines').glob('*.json')]):,}"
    yield f"tests                   {collected_tests()}"


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file()]


def _python(*folders: str) -> Iterator[Path]:
    return (file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))


def _build_folder(given: str | None) -> Path:
    candidates = [ROOT / name for name in ([given] if given else BUILDS)]
    for candidate in candidates:
        if (candidate / "template.yaml").is_file():
            return candidate
    raise SystemExit(f"Error: no build in {' or '.join(map(str, candidates))}. Make one: make up, or sam build")


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description="Sizes, cold imports, lines and tests.")
    parser.add_argument("--build", help=f"the folder of a build; {' or '.join(BUILDS)} if not given")
    build = _build_folder(parser.parse_args().build)
    with TemporaryDirectory() as folder:
        for line in report(build, site_with_boto3(Path(folder) / "site")):
            print(line, flush=True)


if __name__ == "__main__":
    main()

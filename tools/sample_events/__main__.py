"""Command line of the sample events."""

import sys
from pathlib import Path

from tools.sample_events.files import written

HOME = Path(__file__).parents[2] / "events"


def main(arguments: list[str]) -> int:
    """Write the files, or with --check list those that differ; return the exit code."""
    stale = [HOME / name for name, text in written().items() if _content(HOME / name) != text]
    if "--check" in arguments:
        for path in stale:
            print(f"Error: events/{path.relative_to(HOME)} is not up to date: run python -m tools.sample_events")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written()[str(path.relative_to(HOME))], encoding="utf-8")
    return 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

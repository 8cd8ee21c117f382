"""What the pages say is true of the code, as far as a test can tell."""

import re
from pathlib import Path

import pytest

from tools.draw_protocol import PAGE, updated, walk

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def test_the_protocols_picture_is_up_to_date() -> None:
    """docs/design.md shows the transitions that the code makes. After a change: python -m tools.draw_protocol"""
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page) == page


def test_every_cell_of_the_protocols_table_leads_somewhere() -> None:
    """The picture is drawn by a walk over a small world; it enters all cells, or says which it doesn't."""
    assert all(walk().values())


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_pages_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and a heading that is in it."""
    broken = [
        f"{file}#{anchor}"
        for file, anchor in LINK.findall((ROOT / page).read_text(encoding="utf-8"))
        if not _leads_somewhere(ROOT / page, file, anchor)
    ]
    assert broken == []


def _leads_somewhere(page: Path, file: str, anchor: str) -> bool:
    target = (page.parent / file) if file else page
    if not target.exists():
        return False
    return not anchor or anchor in _anchors(target.read_text(encoding="utf-8"))


def _anchors(text: str) -> set[str]:
    """Return a page's headings as links name them."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in HEADING.findall(text)}


def test_make_targets_that_pages_name_are_there() -> None:
    """A reader types what stands there."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets


def test_every_alarm_is_explained() -> None:
    """docs/operations.md tells what each alarm of the template means."""
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    alarms = set(re.findall(r"AlarmName: !Sub \$\{AWS::StackName\}-([a-z-]+)", template))
    explained = set(
        re.findall(r"^\| `([a-z-]+)`", (ROOT / "docs/operations.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert alarms - explained == set()

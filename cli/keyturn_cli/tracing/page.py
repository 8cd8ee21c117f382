"""A story as one web page that needs nothing else: its timeline drawn, the time by what it went into, the log lines.

Everything that comes from outside is escaped: a key or a worker's error may hold markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from keyturn_cli.looking.times import clock, lasting
from keyturn_cli.looking.wording import one_line
from keyturn_cli.tracing.drawing import draw, slug
from keyturn_cli.tracing.story import Gap, Line, Moment, Story, What
from keyturn_cli.tracing.text import shown

_STYLE: Final = """
:root{--back:#fff;--text:#1d2433;--dim:#667085;--line:#e3e6ec;--panel:#f7f8fa;--red:#d33a3a;--green:#2c9a5b;--blue:#3b74d9;
--teal:#2a9fa8;--amber:#e0a526;--orange:#e27d2f;--violet:#8a63d2;--pink:#c7509b;--grey:#b6bdc9;--on:#10151f}
@media(prefers-color-scheme:dark){:root{--back:#12161e;--text:#e4e8ef;--dim:#95a0b3;--line:#2a3140;--panel:#1a202b;
--red:#ef6a6a;--green:#4fc383;--blue:#6d9df0;--teal:#4cc3cc;--amber:#edbe54;--orange:#f09a56;--violet:#ab8cee;--pink:#e27fbb;
--grey:#5a6475}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:28px 24px 60px;background:var(--back);color:var(--text);
font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:22px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:15px;margin:30px 0 8px}
.standing{font-size:15px;font-weight:600;margin:0 0 14px;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0}dt{color:var(--dim)}
dd{margin:0;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px;overflow-wrap:anywhere}
.drawing{overflow-x:auto;background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:8px}
svg{display:block;min-width:960px;width:100%}svg text{font:11px system-ui,sans-serif;fill:var(--text)}
svg .lane,svg .tick{fill:var(--dim)}svg .label{text-anchor:middle;fill:var(--on);pointer-events:none}
.grid{stroke:var(--line)}rect{fill:var(--grey)}
.queue,.earlier,.unadmitted,.slot,.unstarted{fill:var(--amber)}.start,.between,.ending,.stored{fill:var(--violet)}.gap.step,.step,.in-work{fill:var(--teal)}
.retry,.step-retry,.no-result{fill:var(--orange)}.gap.parked{fill:var(--red)}.gap.held{fill:var(--pink)}.gap{opacity:.8}
.longest{opacity:1;stroke:var(--text);stroke-width:2}
.attempt{fill:var(--orange)}.attempt.succeeded{fill:var(--green)}.attempt.failed{fill:var(--red)}.attempt.under-way{fill:var(--blue)}
path.failure{stroke:var(--red);stroke-width:2.5;fill:none}
.mark{fill:var(--blue);stroke:var(--panel);stroke-width:1.5}.mark.done{fill:var(--green)}.mark.operation,.mark.held,.mark.released{fill:var(--pink)}
.mark.parked,.mark.dead-lettered,.mark.quarantined{fill:var(--red)}.mark.duplicate,.mark.now{fill:var(--grey)}
.hint,.note{color:var(--dim);font-size:13px;margin:6px 0}
.table{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px}
th{text-align:left;color:var(--dim);font-weight:500}
th,td{padding:3px 14px 3px 0;border-bottom:1px solid var(--line);vertical-align:top}
td.share{vertical-align:middle;width:40%}
td.time{width:1%}td.time,td.number{white-space:nowrap;font-variant-numeric:tabular-nums}td.number{text-align:right}
td.text{overflow-wrap:anywhere}.share div{height:10px;border-radius:3px;background:var(--grey);min-width:2px}
.is-longest td{font-weight:650}
.is-longest .share div{background:var(--amber)}
.is-red{color:var(--red)}.is-green{color:var(--green)}.is-yellow{color:var(--orange)}.is-dim{color:var(--dim)}
"""

_COLOURS: Final = {
    What.PARKED: "is-red",
    What.DEAD_LETTERED: "is-red",
    What.QUARANTINED: "is-red",
    What.STEP_FAILED: "is-yellow",
    What.DONE: "is-green",
}
_LEVELS: Final = {"WARNING": "is-yellow", "ERROR": "is-red", "CRITICAL": "is-red"}


def page_of(story: Story) -> str:
    """Write the page."""
    subject = story.subject
    title = f"Event {_text(subject.id or 'without an id')}"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="standing">{_text(story.standing)}</p>',
        _facts(story),
        _drawing(story),
        _section("Where the time went", _gaps(story)),
        _section("What happened", _moments(story)),
        _section(f"Log lines of all functions ({len(story.lines)})", _lines(story.lines)),
        *(f'<p class="note">Note: {_text(note)}.</p>' for note in story.notes),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n{''.join(parts)}\n</body></html>\n"
    )


def _text(text: str) -> str:
    return escape(one_line(text))


def _facts(story: Story) -> str:
    subject = story.subject
    facts = {
        "key": repr(subject.key),
        "source": subject.source,
        "type": subject.type,
        "flow id": subject.flow_id,
        "position": subject.position,
    }
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{_text(value)}</dd>' for name, value in facts.items() if value)}</dl>"


def _drawing(story: Story) -> str:
    svg = draw(story)
    if not svg:
        return ""
    hint = "Not to scale: widths go by the square root of the time. Hover over a bar or a mark to read what it is."
    return f'<h2>Timeline</h2><div class="drawing">{svg}</div><p class="hint">{hint}</p>'


def _section(title: str, rows: Iterable[str]) -> str:
    body = "".join(rows)
    return f'<h2>{title}</h2><div class="table"><table>{body}</table></div>' if body else ""


def _gaps(story: Story) -> Iterator[str]:
    put_ms = next((moment.at_ms for moment in story.moments if moment.what is not What.PRODUCED), 0)
    ours = [gap for gap in story.gaps if gap.begins_ms >= put_ms]
    whole_ms = sum(gap.length_ms for gap in ours)
    for number, gap in enumerate(ours, start=1):
        yield _gap(gap, number, 100 * gap.length_ms / whole_ms, is_longest=gap == story.longest)


def _gap(gap: Gap, number: int, percent: float, *, is_longest: bool) -> str:
    row = ' class="is-longest"' if is_longest else ""
    name = f"{_text(gap.label)}{' (the longest)' if is_longest else ''}"
    share = f'<td class="share"><div style="width:{percent:.1f}%"></div></td>'
    return (
        f'<tr{row}><td class="number">{number}</td><td class="text">{name}</td>'
        f'<td class="number">{lasting(gap.length_ms)}</td>{share}</tr>'
    )


def _moments(story: Story) -> Iterator[str]:
    yield "<tr><th>time (UTC)</th><th>what</th><th>written down in</th></tr>"
    yield from map(_moment, story.moments)


def _moment(moment: Moment) -> str:
    colour = _COLOURS.get(moment.what, "")
    return (
        f'<tr class="{slug(moment.what.value)}"><td class="time">{clock(moment.at_ms)}</td>'
        f'<td class="text {colour}">{_text(moment.text)}</td><td class="is-dim">{_text(moment.source)}</td></tr>'
    )


def _lines(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        fields = " ".join(f"{name}={value}" for name, value in shown(line).items())
        cells = (
            ("time", clock(line.at_ms)),
            (_LEVELS.get(line.level, ""), line.level),
            ("", line.service),
            ("", line.message),
            ("text is-dim", fields),
        )
        yield "".join(("<tr>", *(f'<td class="{kind}">{_text(text)}</td>' for kind, text in cells), "</tr>"))

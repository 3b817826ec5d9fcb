"""Pages to read in a browser: one file, no network, no script."""

import base64
import html
import pathlib
import string
from collections.abc import Iterable, Mapping, Sequence

_LONG = 36  # characters of a cell that may break into lines

# The policy keeps a browser from fetching anything, whatever a page says.
_PAGE = string.Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
$lead</header>
<nav aria-label="Contents">
$contents</nav>
$sections</main>
</body>
</html>
""")

_STYLE = """\
:root { color-scheme: light; --ink: #1c2330; --faint: #566070;
  --line: #d9dee6; --wash: #f5f7fa; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
    "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2;
  margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .75rem; }
section { margin-top: 3rem; padding-top: 1.5rem;
  border-top: 1px solid var(--line); scroll-margin-top: 1rem; }
p { margin: 0 0 .9rem; max-width: 46rem; }
.lead { color: var(--faint); margin-bottom: .25rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap;
  gap: .35rem 1.1rem; margin: 1.25rem 0 0; padding: 0; font-size: .95rem; }
a { color: #1a5fa8; text-underline-offset: .15em; }
.cards { display: grid; gap: 1rem; margin: 0 0 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); }
.card { border: 1px solid var(--line); border-radius: .5rem;
  padding: .9rem 1.1rem; background: var(--wash); }
.card dt { color: var(--faint); }
.card dd { margin: 0; }
.card .number { font-size: 2.1rem; line-height: 1.25; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.note { border-left: .25rem solid #c77700; background: #fff6e5;
  padding: .65rem 1rem; border-radius: 0 .35rem .35rem 0; }
.aside { color: var(--faint); }
/* A shadow at the side where a table goes on. */
.scroll { overflow-x: auto; margin: 0 0 1.25rem; background:
  linear-gradient(to right, #fff 40%, #fff0) left,
  linear-gradient(to left, #fff 40%, #fff0) right,
  linear-gradient(to right, #1c233033, #1c233000) left,
  linear-gradient(to left, #1c233033, #1c233000) right;
  background-size: 2rem 100%, 2rem 100%, .6rem 100%, .6rem 100%;
  background-repeat: no-repeat;
  background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; font-size: .92rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.caption { color: var(--faint); font-size: .92rem; margin: 0 0 .2rem; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left;
  vertical-align: baseline; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 14rem; max-width: 26rem;
  overflow-wrap: anywhere; }
th.n, td.n { text-align: right; }
/* What a row is of stays in view, unless its name would fill a phone. */
table:not(:has(.long:first-child)) :is(th, td):first-child {
  position: sticky; left: 0; background: #fff; }
thead th { border-bottom: 2px solid var(--line); }
figure { margin: 0 0 2rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { max-width: 46rem; margin-top: .5rem; font-size: .95rem; }
figcaption .data { color: var(--faint); font-size: .875rem; }
code { font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas,
  "Liberation Mono", monospace; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  section { margin-top: 2.25rem; }
}
@media print { nav { display: none; } figure { break-inside: avoid; } }
"""


class Page:
    """A page that grows from its top.

    Everything given is plain text and shown as it is: what means something in
    HTML is escaped here.
    """

    def __init__(self, title: str, lead: Iterable[str] = ()):
        self._title = title
        self._lead = lead
        self._titles = []
        self._parts = []

    def section(self, title: str) -> None:
        """Begins a section, which the contents list."""
        if self._titles:
            self._parts.append("</section>\n")
        self._titles.append(title)
        self._parts.append(
            f'<section id="s{len(self._titles)}">\n'
            f"<h2>{html.escape(title)}</h2>\n"
        )

    def paragraph(self, text: str) -> None:
        """Adds a paragraph."""
        self._parts.append(_paragraph(text))

    def note(self, text: str) -> None:
        """Adds what no reader may miss."""
        self._parts.append(_paragraph(text, "note"))

    def aside(self, text: str) -> None:
        """Adds a line in the background, such as why something is missing."""
        self._parts.append(_paragraph(text, "aside"))

    def cards(self, cards: Sequence[tuple[str, str, str]]) -> None:
        """Adds big numbers, (name, number, small print) each."""
        self._parts.append(
            '<dl class="cards">\n'
            + "".join(
                f'<div class="card"><dt>{html.escape(name)}</dt>'
                f'<dd class="number">{html.escape(number)}</dd>'
                f"<dd>{html.escape(small)}</dd></div>\n"
                for name, number, small in cards
            )
            + "</dl>\n"
        )

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        caption: str = "",
        words: int = 1,
    ) -> None:
        """Adds a table, which scrolls by itself where it is too wide.

        Args:
            header: names of the columns.
            rows: their cells.
            caption: what stands above it.
            words: how many columns, from the left, hold words, not numbers.
        """
        body = [_row("td", row, words) for row in rows]
        if caption:
            # Not a <caption>, which would be as narrow as its table.
            self._parts.append(_paragraph(caption, "caption"))
        self._parts.append(
            # To be scrolled without a mouse, it must take the focus.
            '<div class="scroll" tabindex="0">\n<table>\n<thead>\n'
            f"{_row('th', header, words)}</thead>\n"
            f"<tbody>\n{''.join(body)}</tbody>\n</table>\n</div>\n"
        )

    def figure(
        self, picture: pathlib.Path, *, alt: str, caption: str, data: str
    ) -> None:
        """Adds a picture.

        Args:
            picture: PNG, which the page holds itself.
            alt: what it shows, for those who don't see it.
            caption: what it says.
            data: name of the CSV file of what is drawn.
        """
        content = picture.read_bytes()
        # Of a PNG's first chunk: room is kept before the picture is decoded.
        width, height = (
            int.from_bytes(content[start : start + 4], "big")
            for start in (16, 20)
        )
        encoded = base64.b64encode(content).decode("ascii")
        self._parts.append(
            f'<figure>\n<img alt="{html.escape(alt)}" width="{width}" '
            f'height="{height}"\n src="data:image/png;base64,{encoded}">\n'
            f"<figcaption>{html.escape(caption)} "
            f'<span class="data">Data: <code>{html.escape(data)}</code>, '
            f"picture: <code>{html.escape(picture.name)}</code>.</span>"
            "</figcaption>\n</figure>\n"
        )

    def html(self) -> str:
        """Returns the page."""
        contents = "".join(
            f'<li><a href="#s{i}">{html.escape(title)}</a></li>\n'
            for i, title in enumerate(self._titles, start=1)
        )
        substitutes: Mapping[str, str] = {
            "title": html.escape(self._title),
            "style": _STYLE,
            "lead": "".join(_paragraph(line, "lead") for line in self._lead),
            "contents": f"<ul>\n{contents}</ul>\n",
            "sections": "".join(self._parts)
            + "</section>\n" * bool(self._titles),
        }
        return _PAGE.substitute(substitutes)


def _paragraph(text, kind=""):
    attribute = f' class="{kind}"' * bool(kind)
    return f"<p{attribute}>{html.escape(text)}</p>\n"


def _row(tag, cells, words):
    parts = []
    for i, cell in enumerate(cells):
        kind = "n" if i >= words else "long" if len(cell) > _LONG else ""
        attribute = f' class="{kind}"' * bool(kind)
        parts.append(f"<{tag}{attribute}>{html.escape(cell)}</{tag}>")
    return f"<tr>{''.join(parts)}</tr>\n"

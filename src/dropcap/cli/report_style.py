"""The look of a report: A4, hairlines, one style block and nothing else that a browser would have to load."""

from __future__ import annotations

#: `{footer}` is a CSS string.
STYLE = """
:root{--ink:#1b2126;--quiet:#58626b;--line:#c9cfd2;--good:#0d7762;--bad:#8f1a10;
--mono:"Cascadia Mono",Consolas,ui-monospace,Menlo,monospace}
@page{size:A4;margin:18mm 16mm 20mm;
@bottom-left{content:{footer};font:8pt "Segoe UI",sans-serif;color:#58626b}
@bottom-right{content:"Page " counter(page) " of " counter(pages);font:8pt "Segoe UI",sans-serif;color:#58626b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:178mm;padding:18mm 0;background:#fff;color:var(--ink);font:10pt/1.45 "Segoe UI",system-ui,sans-serif}
h1,h2,p,dl,dd,figure,ul{margin:0}
h1{font-size:18pt;line-height:1.25;font-weight:600}
h1 span{display:block;font-weight:400}
h2{font-size:12pt;font-weight:600;margin:9mm 0 2mm;break-after:avoid}
ul{padding-left:5mm}
.lead{margin-top:3mm;max-width:140mm}
.q,dt,th{color:var(--quiet);font-size:9pt}
dl{display:grid;grid-template-columns:repeat(4,1fr);gap:2mm 8mm;
border:solid var(--line);border-width:1px 0;padding:4mm 0;margin-top:7mm}
dd{font-size:14pt;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:400;padding:0 3mm 1mm 0;vertical-align:bottom}
td{border-top:1px solid var(--line);padding:1.6mm 3mm 1.6mm 0;vertical-align:top;font-size:9pt;overflow-wrap:anywhere}
tr{break-inside:avoid}
td:last-child,th:last-child{padding-right:0}
.m{font-family:var(--mono);font-size:8pt;width:62mm}
.m small,.h{font-family:var(--mono);font-size:7pt;color:var(--quiet);display:block;overflow-wrap:anywhere}
.n{white-space:nowrap;overflow-wrap:normal;font-variant-numeric:tabular-nums}
.bad{color:var(--bad);font-weight:600}
.good{color:var(--good);font-weight:600}
figure{margin-top:5mm;break-inside:avoid}
figcaption{font-size:9pt;color:var(--quiet)}
svg{width:100%;height:auto;display:block;font:9px "Segoe UI",system-ui,sans-serif}
svg rect.good{fill:var(--good)}
svg rect.bad{fill:#fff;stroke:var(--bad);stroke-width:1.5}
svg text{fill:var(--ink);text-anchor:middle;font-weight:400}
svg text.left{text-anchor:start;font-size:10px}
svg text.q{fill:var(--quiet)}
svg text.bad{fill:var(--bad)}
svg .axis{stroke:#868f95;stroke-width:1;fill:none}
.sign{display:grid;grid-template-columns:1fr 1fr;gap:12mm;margin-top:14mm;break-inside:avoid}
.sign p{border-top:1px solid var(--ink);padding-top:1.5mm;font-size:9pt;color:var(--quiet)}
@media print{body{padding:0;max-width:none}}
@media screen and (max-width:48rem){body{padding:1.25rem}dl{grid-template-columns:1fr 1fr}.wide{overflow-x:auto}
.wide table{min-width:40rem}}
""".strip()


def css_string(text: str) -> str:
    """A text as a CSS string: every character that is not plain as its number."""
    return '"' + "".join(c if c.isascii() and (c.isalnum() or c in " ,.-:") else f"\\{ord(c):06x} " for c in text) + '"'

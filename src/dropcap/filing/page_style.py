"""The look of the status page: one style block, whose hash the page's policy names. No `style=`, nothing from elsewhere.

Browsers without custom properties (the old engine in Windows) show it black on white.
"""

from __future__ import annotations

import base64
import hashlib

_LIGHT = (
    "--bg:#fbfbfa;--ink:#1b2126;--quiet:#58626b;--line:#e0e4e4;--accent:#175a9a;"
    "--good:#0d7762;--wait:#936000;--bad:#8f1a10;--tint:#fcebe7"
)
_DARK = (
    "--bg:#13171a;--ink:#e7ebee;--quiet:#a1acb5;--line:#2d353b;--accent:#8ab8f0;"
    "--good:#86dcc0;--wait:#f0b84a;--bad:#ff7d6b;--tint:#36211d"
)

STYLE = (
    f':root{{color-scheme:light dark;{_LIGHT};--mono:"Cascadia Mono",Consolas,ui-monospace,Menlo,monospace}}\n'
    f"@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}\n"
    """*{box-sizing:border-box}
main{display:block}
body{margin:0 auto;max-width:62rem;padding:2.5rem 1.5rem 4rem;background:var(--bg);color:var(--ink);font:1rem/1.5 "Segoe UI",system-ui,Roboto,sans-serif;overflow-wrap:anywhere;word-wrap:break-word}
h1,h2,p,dl,dd,ul{margin:0;padding:0}
ul{list-style:none}
b{font-weight:600}
.folder{color:var(--quiet);margin-bottom:1.5rem}
.folder b{color:var(--ink)}
.test{border:2px solid currentColor;color:var(--wait);padding:.5rem .75rem;margin-bottom:1.5rem}
.verdict{display:grid;grid-template-columns:2rem minmax(0,1fr);column-gap:1rem;margin-bottom:2.5rem}
.verdict svg{width:2rem;height:2rem;margin-top:.15rem}
.hole{stroke:#fff;stroke:var(--bg)}
h1{font-size:1.75rem;line-height:1.3;font-weight:600;letter-spacing:-.01em;max-width:44rem}
h1 span{display:block;font-weight:400}
.verdict p{grid-column:2;max-width:40rem;margin-top:.5rem}
.good{color:var(--good)}.wait{color:var(--wait)}.bad{color:var(--bad)}.quiet{color:var(--quiet)}
.sum{display:grid;grid-template-columns:auto minmax(0,1fr);gap:1.5rem 4rem;border-top:1px solid var(--line);border-bottom:1px solid var(--line);padding:1.25rem 0 1.4rem;margin-bottom:3rem}
.sum dl{display:flex;gap:2.5rem}
.sum dt,.small{font-size:.875rem;color:var(--quiet)}
.sum dd{font-size:1.75rem;line-height:1.25;font-variant-numeric:tabular-nums}
.asof{max-width:29rem;justify-self:end}
.asof p+p{margin-top:.25rem}
section{margin-bottom:3rem}
h2{font-size:1.125rem;font-weight:600;line-height:1.4}
h2 span{font-weight:400;color:var(--quiet)}
h2+p{max-width:40rem;margin-top:.25rem}
section>ul{margin-top:1rem}
.plain{max-width:42rem}
section .plain li{grid-template-columns:minmax(0,1fr) auto}
section li{border-top:1px solid var(--line);padding:.75rem 0;display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:.25rem 2.5rem}
.names li{display:block;padding:.25rem 0;border:0}
.name{font-family:Consolas,monospace;font-family:var(--mono);font-size:.9375rem;unicode-bidi:isolate}
.why,.do{font-size:.9375rem}
.why{color:var(--quiet)}
mark{background:var(--tint);color:var(--bad);font-weight:700;border-bottom:2px solid var(--bad)}
.sp{border:1px solid var(--bad);white-space:pre}
.to{font:600 .9375rem/1.5 var(--mono);display:block;-webkit-user-select:all;user-select:all}
progress{-webkit-appearance:none;appearance:none;display:block;width:100%;height:.5rem;border:0;border-radius:.25rem;background:var(--line);color:var(--accent);margin:.5rem 0 .4rem}
progress::-webkit-progress-bar{background:var(--line);border-radius:.25rem}
progress::-webkit-progress-value{background:var(--accent);border-radius:.25rem}
progress::-moz-progress-bar{background:var(--accent);border-radius:.25rem}
time{white-space:nowrap}
.r{text-align:right;font-variant-numeric:tabular-nums}
footer{border-top:1px solid var(--line);padding-top:1.25rem}
@media(max-width:44rem){body{padding:1.5rem 1.25rem 3rem}h1{font-size:1.5rem}.verdict{grid-template-columns:1.5rem minmax(0,1fr);column-gap:.75rem;margin-bottom:2rem}.verdict svg{width:1.5rem;height:1.5rem;margin-top:.2rem}.sum{grid-template-columns:1fr;margin-bottom:2.5rem}.sum dl{gap:1rem;justify-content:space-between}.asof{justify-self:start}section li,section .plain li{grid-template-columns:minmax(0,1fr)}.r{text-align:left}}
@media print{:root{color-scheme:light}body{padding:0;max-width:none}li,.verdict{break-inside:avoid}}"""  # noqa: E501
)
POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; form-action 'none'; base-uri 'none'"
)

#: A disc, a ring and a triangle: word and shape tell as much as the colour.
MARKS = {
    "good": '<circle cx="16" cy="16" r="15" fill="currentColor"/>'
    '<path class="hole" d="M9 16.5l5 5 9.5-10.5" fill="none" stroke-width="3"/>',
    "wait": '<circle cx="16" cy="16" r="13.5" fill="none" stroke="currentColor" stroke-width="3"/>'
    '<path d="M12.5 11v10m7-10v10" stroke="currentColor" stroke-width="3"/>',
    "bad": '<path d="M16 2 31 29H1z" fill="currentColor"/><path class="hole" d="M16 12v8m0 3v3" stroke-width="3"/>',
}

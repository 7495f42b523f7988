"""The shell of a report: one HTML file with its style, its script and plotly inside, and no way to the network.

Notable: the content security policy forbids every request, so the page is the same behind a firewall and cannot
call home. Figures travel as JSON in a data block with "<" escaped, and are drawn with the colours of the theme the
reader's system asks for; they are redrawn when it changes.
"""

import html
import json
from collections.abc import Mapping
from typing import Any

from plotly.offline import get_plotlyjs

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#ffffff;--ink:#1b2130;--muted:#5d6778;--line:#e3e7ee;
--accent:#2459d3;--knee:#d4500c;--teacher:#7a3fb8;--limit:#b42318;--point:#98a3b5;--band:rgba(36,89,211,.10);
--bad:#b42318;--soft:#eef3ff}
@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1a1f28;--ink:#e8ebf1;--muted:#9da8ba;--line:#2d3542;
--accent:#82a8ff;--knee:#ff9a56;--teacher:#c9a2ff;--limit:#ff8a80;--point:#718096;--band:rgba(130,168,255,.14);
--bad:#ff8a80;--soft:#202a40}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}
header{margin-bottom:28px}
.notice{margin:0 0 1rem;padding:.75rem 1rem;
border-left:4px solid #d97706;border-radius:8px;background:color-mix(in srgb,#d97706 12%,transparent)}
.eyebrow{margin:0;color:var(--muted);font-size:.875rem;letter-spacing:.02em}
h1{font-size:clamp(1.55rem,4.4vw,2.4rem);line-height:1.2;letter-spacing:-.02em;margin:.3em 0 .4em;text-wrap:balance}
h2{font-size:1.15rem;margin:0 0 4px;letter-spacing:-.01em}
p{margin:0 0 12px;max-width:78ch}.lead{color:var(--muted);font-size:1.02rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-bottom:16px}
.tile,section{background:var(--card);border:1px solid var(--line);border-radius:12px}
.tile{padding:14px 18px}.tile b{display:block;font-size:1.6rem;line-height:1.3;letter-spacing:-.02em}
.tile span{color:var(--muted);font-size:.84rem;display:block;line-height:1.4}
section{padding:22px 24px;margin-bottom:16px;min-width:0}section>p{color:var(--muted);font-size:.94rem}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 16px}.pair section{display:flex;
flex-direction:column}.pair figure{margin-top:auto}.pair .empty{margin:auto 0}
figure{margin:0}.chart{height:400px}.chart.tall{height:520px}
.scroll{overflow-x:auto;margin:0 -24px;padding:0 24px}.scroll:focus-visible,a:focus-visible,summary:focus-visible
{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:8px 12px 8px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--muted);font-weight:600;font-size:.8rem;vertical-align:bottom}thead th{white-space:normal}
details table{font-size:.85rem}
tbody th{color:var(--ink);font-size:.9rem;font-weight:500;vertical-align:middle}
tr:last-child>*{border-bottom:0}th:first-child,td:first-child,.text{text-align:left}
tr.knee>*{background:var(--soft)}tr.teacher>*{color:var(--teacher)}tr.failed>*{color:var(--bad)}
td.words{white-space:normal;min-width:88px}td.text.words{min-width:180px}
table.narrow{width:auto;margin-bottom:14px}table.narrow>*>tr>*{padding-right:18px}
td.cause{white-space:normal;min-width:190px;text-align:left;overflow-wrap:anywhere}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
a{color:var(--accent)}small{color:var(--muted)}td small{display:block}.text:not(:first-child){padding-left:12px}
.badge{display:inline-block;margin-left:6px;padding:0 8px;border-radius:9px;background:var(--knee);color:var(--card);
font-size:.74rem;font-weight:650}
summary{cursor:pointer;font-weight:600;font-size:1.15rem;letter-spacing:-.01em}
summary+*{margin-top:12px}td.bar{width:45%;padding-right:0}.bar i{display:block;height:9px;border-radius:5px;
background:var(--accent);min-width:2px}.empty{padding:24px 0;max-width:none;text-align:center;color:var(--muted)}
footer{color:var(--muted);font-size:.84rem;text-align:center;padding-top:12px}
@media(max-width:860px){.pair{grid-template-columns:minmax(0,1fr)}}
@media(max-width:640px){main{padding:24px 12px 40px}section{padding:16px}.scroll{margin:0 -16px;padding:0 16px}
.tiles{grid-template-columns:1fr 1fr}.tile{padding:10px 14px}.tile b{font-size:1.35rem}
.chart{height:330px}.chart.tall{height:400px}}
@media print{main{max-width:none;padding:0}section,.tile{break-inside:avoid}}
"""

SCRIPT = """
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const themed = (value, css) => {
    if (Array.isArray(value)) return value.map(item => themed(item, css));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, css)]));
    const name = typeof value === "string" && /^var\\((--[a-z]+)\\)$/.exec(value);
    return name ? css.getPropertyValue(name[1]).trim() : value;
  };
  const draw = () => {
    const css = getComputedStyle(document.documentElement), narrow = window.innerWidth < 640;
    for (const [id, figure] of Object.entries(figures)) {
      const {data, layout} = themed(figure, css);
      if (narrow) {  // a touch that starts on a chart must scroll the page
        layout.dragmode = false;
        layout.font.size = 11;
        layout.margin = {l: 46, r: 8, t: 30, b: 44};
      }
      const modeBarButtons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
      const config = {responsive: true, displaylogo: false, modeBarButtons};
      if (narrow) config.displayModeBar = false;
      Plotly.react(document.getElementById(id), data, layout, config);
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
"""


def document(title: str, body: str, figures: Mapping[str, Any]) -> str:
    """The whole page; `body` is HTML that holds an element `id` for every key of `figures` (plotly JSON)."""
    plotly = f"<script>{get_plotlyjs()}</script>" if figures else ""
    data = json.dumps(figures, sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="figures">{data}</script>
{plotly}
<script>{SCRIPT}</script>
</body>
</html>
"""

"""Style and behaviour of the HTML page: readable on a phone, in print, in the dark, by keyboard."""

from __future__ import annotations

from typing import Final

CSS: Final = """
:root{--ink:#1a1a1a;--paper:#fff;--soft:#f3f4f6;--line:#c9ccd1;--accent:#0b5394}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#16181c;--soft:#23262c;
--line:#474c55;--accent:#8ec5ff}}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:var(--paper);font:16px/1.5 system-ui,sans-serif}
main,header,footer,nav{max-width:62rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.6rem;line-height:1.2;margin:1rem 0 .3rem}
h2{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:2px solid var(--line)}
h3{font-size:1.05rem;margin:1.4rem 0 .4rem}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:3px solid var(--accent);
outline-offset:2px}
.skip{position:absolute;left:-999rem}
.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem;z-index:2}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;list-style:none}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.8rem;padding:0;
list-style:none}
.cards li{background:var(--soft);border-radius:.5rem;padding:.8rem}
.cards b{display:block;font-size:1.35rem}
.scroll{overflow-x:auto;max-width:100%;margin:.6rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th:first-child,td:first-child,td.text,th.text{text-align:left}
tbody th,td:not(.text){white-space:nowrap}
td.text{min-width:9rem}
td.text:last-child{min-width:16rem}
thead th{background:var(--soft);vertical-align:bottom;min-width:4.5rem}
details{margin:.5rem 0;border:1px solid var(--line);border-radius:.4rem;padding:.3rem .7rem}
summary{cursor:pointer;font-weight:600}
figure{margin:.8rem 0}
figcaption{font-weight:600;font-size:.9rem}
.chart{width:100%;min-width:36rem;height:auto;display:block;background:var(--paper)}
.chart text{fill:var(--ink);font:12px system-ui,sans-serif}
.chart .axis{stroke:var(--ink)}
.chart .grid{stroke:var(--line)}
.chart .outline{fill:none;stroke:var(--line)}
.status{border:1px solid var(--line);border-radius:.3rem;padding:0 .3rem;font-size:.8rem}
.warning{border-left:4px solid #d55e00;padding-left:1.6rem}
footer{color:var(--ink);margin-top:2rem;padding-bottom:2rem;font-size:.9rem}
@media print{@page{margin:14mm}body{font-size:10pt}nav,.skip{display:none}.scroll{overflow:visible}
table{font-size:7pt}th,td{padding:.1rem .25rem}
td.text:last-child{overflow-wrap:anywhere}thead th{min-width:0}
tbody th{white-space:normal}td.text,td.text:last-child{min-width:0}
details{border:0;padding:0}figure,tr{break-inside:avoid}h2,h3,summary,caption{break-after:avoid}
.chart{min-width:0}a{color:inherit}}
"""

SCRIPT: Final = """
addEventListener('beforeprint',function(){
document.querySelectorAll('details').forEach(function(d){d.open=true})});
"""
"""Printing shows what is folded on the screen. The page works without it."""

"""A phase diagram as one page that opens offline: the map, the runs behind each cell, and how to repeat each."""

from __future__ import annotations

import html
import json
import math
import shlex
from collections import Counter
from typing import Any

from .._version import __version__
from ._cells import label_texts, order
from ._phases import Phase, Spot

# Of a cell so many runs are listed.
_LISTED = 200

_TEMPLATE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>%(title)s</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.25em; margin: 0 0 .2em; } p.note { color: #555; margin: 0 0 1em; }
main { display: flex; flex-wrap: wrap; gap: 2em; align-items: flex-start; }
table.map { border-collapse: collapse; } table.map th { font-weight: normal; padding: 2px 6px; font-size: 13px; }
table.map td { padding: 0; } table.map button { width: 100%%; min-width: 3.4em; height: 2.2em;
  border: 1px solid #fff; cursor: pointer;
  font: 12px system-ui, sans-serif; } table.map button:focus, table.map button.on { outline: 3px solid #d55e00; }
table.runs { border-collapse: collapse; font-size: 13px; } table.runs th, table.runs td { text-align: left;
  padding: 2px 10px 2px 0; border-bottom: 1px solid #ddd; vertical-align: top; } code { user-select: all;
  white-space: pre-wrap; background: #f3f3f3; padding: 1px 3px; } #tip { min-height: 1.5em; color: #333; }
.err { color: #a00; }
</style></head><body>
<h1>%(title)s</h1>
<p class="note">%(note)s</p>
<main><div><table class="map" id="map"></table><p id="tip">Point at a cell for its runs, click for the list.</p></div>
<div id="list"></div></main>
<script id="data" type="application/json">%(data)s</script>
<script>
"use strict";
const d = JSON.parse(document.getElementById("data").textContent);
function el(tag, text) {
  const e = document.createElement(tag); if (text !== undefined) e.textContent = text; return e; }
const V = [[68,1,84],[59,82,139],[33,145,140],[94,201,98],[253,231,37]];
function colour(t) { const s = Math.max(0, Math.min(0.9999, t)) * 4, k = Math.floor(s), f = s - k;
  return V[k].map((c, j) => Math.round(c + f * (V[k + 1][j] - c))); }
const show = v => v === null ? "-" : (typeof v === "number" ? String(Number(v.toPrecision(4))) : String(v));
const span = d.high > d.low ? d.high - d.low : 1;
const [map, tip, list] = ["map", "tip", "list"].map(name => document.getElementById(name));
for (let j = d.ys.length - 1; j >= 0; j--) {
  const row = el("tr"); row.append(el("th", (j === d.ys.length - 1 ? d.y + " = " : "") + show(d.ys[j])));
  for (let i = 0; i < d.xs.length; i++) {
    const c = d.cells[j][i], cell = el("td"), b = el("button", show(c.value));
    const rgb = c.value === null ? [230,230,230] : colour((c.value - d.low) / span);
    b.style.background = "rgb(" + rgb + ")";
    b.style.color = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140 ? "#000" : "#fff";
    const text = d.x + " = " + show(d.xs[i]) + ", " + d.y + " = " + show(d.ys[j]) + ": " + show(c.value) + " over " +
      c.count + " runs" + (c.failed ? ", " + c.failed + " failed" : "") + "; " + c.ends;
    b.setAttribute("aria-label", text);
    b.onmouseenter = b.onfocus = () => { tip.textContent = text; };
    b.onclick = () => open_cell(b, c, text);
    cell.append(b); row.append(cell);
  }
  map.append(row);
}
const last = el("tr"); last.append(el("th", d.x + " ="));
for (const x of d.xs) last.append(el("th", show(x)));
map.append(last);
function open_cell(b, c, text) {
  for (const other of map.querySelectorAll("button.on")) other.classList.remove("on");
  b.classList.add("on"); list.replaceChildren(el("h2", text));
  const t = el("table"); t.className = "runs"; const head = el("tr");
  for (const h of ["run", "end", d.title, "to repeat it"]) head.append(el("th", h));
  t.append(head);
  for (const r of c.runs) {
    const row = el("tr"); row.append(el("td", r.cell));
    const end = el("td", r.end); if (r.failed) end.className = "err"; row.append(end);
    row.append(el("td", show(r.value))); const how = el("td"); how.append(el("code", r.repeat)); row.append(how);
    t.append(row);
  }
  list.append(t); if (c.count > c.runs.length) list.append(el("p", (c.count - c.runs.length) + " more runs"));
}
const first = map.querySelector("button"); if (location.hash === "#first" && first) first.click();
</script></body></html>
"""


def page(made: Phase, command: str | None) -> str:
    """Return the page; ``command`` is what does the study from the command line, if that is where it came from."""
    finite = [float(v) for v in made.found.ravel() if math.isfinite(v)]
    data = {
        "x": made.x,
        "y": made.y,
        "xs": label_texts(made.xs),
        "ys": label_texts(made.ys),
        "title": made.title,
        "low": 0.0 if made.is_share else min(finite, default=0.0),
        "high": 1.0 if made.is_share else max(finite, default=1.0),
        "cells": [
            [_cell(made.spots.get((order(a), order(b)), []), made.found[j, i], command) for i, a in enumerate(made.xs)]
            for j, b in enumerate(made.ys)
        ],
    }
    count = sum(map(len, made.spots.values()))
    note = f"{count} runs, lorasolve {__version__}."
    # Inside a script element only "<" could end it.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return _TEMPLATE % {"title": html.escape(made.title), "note": html.escape(note), "data": text}


def _cell(spots: list[Spot], value: float, command: str | None) -> dict[str, Any]:
    # Workers finish in any order.
    spots = sorted(spots, key=lambda spot: [*map(order, spot.cell.values())])
    ends = Counter(spot.end for spot in spots)
    return {
        "value": _number(float(value)),
        "count": len(spots),
        "failed": sum(spot.error is not None for spot in spots),
        "ends": ", ".join(f"{count} {end}" for end, count in ends.most_common(4)),
        "runs": [_run(spot, command) for spot in spots[:_LISTED]],
    }


def _run(spot: Spot, command: str | None) -> dict[str, Any]:
    return {
        "cell": ", ".join(f"{name} = {entry}" for name, entry in spot.cell.items()),
        "end": spot.error or spot.end,
        "failed": spot.error is not None,
        "value": _number(spot.number),
        "repeat": f"calls.function({spot.cell!r})" if spot.is_call else repeat_text(spot.cell, command),
    }


def repeat_text(cell: dict[str, Any], command: str | None) -> str:
    """Return what repeats a run: a command line where the study came from one, else Python."""
    if command is None:
        return f"study.repeat({', '.join(f'{name}={value!r}' for name, value in cell.items())})"
    settings = " ".join(shlex.quote(f"{name}={_label(value)}") for name, value in cell.items())
    return f"{command} --repeat {settings}"


def _label(value: Any) -> str:
    """Return a label as the command line reads it: JSON, and any other text as it stands."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

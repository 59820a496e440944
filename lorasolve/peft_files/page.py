"""A diagnosis as one HTML page without anything to load: text, tables and a picture of all spectra."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from .._support.text import counted
from .._support.validate import Array
from .folder import natural, printable
from .report import Diagnosis, LayerReport, base_lines, family_rows, layer_rows, penalty_lines

# From small to large, readable with every kind of colour vision (viridis at five places).
_COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_NOTHING = "#e4e4e4"
# Columns of a panel: a longer spectrum is shown at this many of its places.
_COLUMNS = 32
_CELL, _ROW, _BAR = 9, 9, 60

_COLUMNS_SAY = (
    "X = s A B^T is the update of a layer. rank: singular values above rounding; eff.: exponential of the spectrum's "
    "entropy; s1/s2: large for a spike; sr/s1: above 0.001 the whole rank is used; imbal.: how far A^T A is from "
    "B^T B, 0 at every stationary point under l2 decay; z: distance of ||X||_2 from the median of the family in robust "
    "standard deviations, out of proportion above 6, for families of 8 layers with an update and more; /||W||: "
    "||X||_2 over the base weight's, with --base; wasted: share of the penalty that balanced factors would save. "
    "A family has medians."
)

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2330; background: #fff;
  margin: 0 auto; max-width: 1240px; padding: 16px; }
h1 { font-size: 22px; margin: 8px 0; } h2 { font-size: 17px; margin: 28px 0 8px; }
.verdict { border-left: 6px solid #b8860b; background: #faf6ea; padding: 10px 14px; overflow-wrap: anywhere; }
.verdict.bad { border-color: #b3261e; background: #fbeeed; }
.verdict.good { border-color: #1b7f4b; background: #edf7f1; }
.verdict b { font-size: 18px; } p, li { overflow-wrap: anywhere; } ul { padding-left: 20px; margin: 6px 0; }
.table { overflow-x: auto; border: 1px solid #dfe3ea; border-radius: 4px; max-height: 640px; overflow-y: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: #f1f3f7; }
th, td { padding: 3px 10px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
tr:nth-child(even) td { background: #fafbfc; }
.panels { display: flex; flex-wrap: wrap; gap: 18px; align-items: flex-start; }
figure { margin: 0; flex: 0 1 auto; max-width: 100%; }
figcaption { font-size: 12px; overflow-wrap: anywhere; max-width: 360px; }
svg { max-width: 100%; height: auto; display: block; margin-bottom: 6px; } .note { color: #5a6373; font-size: 13px; }
"""


def diagnosis_page(diagnosis: Diagnosis, name: str) -> str:
    """Return the page of an adapter of that name. Names are escaped; the page loads nothing and runs no script."""
    mood = {"low_rank": "good", "inconclusive": ""}.get(diagnosis.kind, "bad")
    kind = _safe(diagnosis.kind.replace("_", " "))
    facts = [
        diagnosis.title,
        *penalty_lines(diagnosis),
        *base_lines(diagnosis),
        *map(str, diagnosis.premises),
        *diagnosis.remarks,
    ]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">""",
        f"<title>LoRA adapter {_safe(name)}: {kind}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>What the files of the LoRA adapter {_safe(name)} show</h1>",
        f'<div class="verdict {mood}"><b>{kind}</b><br>{_safe(diagnosis.reason)}</div>',
        _list(facts),
        "<h2>What would settle it</h2>" + _list(diagnosis.settles) if diagnosis.settles else "",
        *_spectra(diagnosis.layers),
        *_tables(diagnosis),
        '<p class="note">Facts are about the stored factors. Nothing here says how well the adapter does its work.</p>',
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _safe(text: object) -> str:
    return html.escape(printable(text, 400))


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_safe(item)}</li>" for item in items) + "</ul>"


def _tables(diagnosis: Diagnosis) -> list[str]:
    parts = []
    if diagnosis.layers:
        parts += ["<h2>Families</h2>", f'<p class="note">{_COLUMNS_SAY}</p>', _table(family_rows(diagnosis))]
        parts += ["<h2>Layers, worst first</h2>", _table(layer_rows(diagnosis.layers))]
    if diagnosis.unusable:
        parts += ["<h2>Layers that cannot be used</h2>", _list([f"{u.module}: {u.reason}" for u in diagnosis.unusable])]
    if diagnosis.skipped:
        parts += [
            "<h2>Tensors that are no factors</h2>",
            _list([f"{k}: {why}" for k, why in diagnosis.skipped.items()]),
        ]
    return parts


def _table(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{_safe(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


# ---------------------------------------------------------------------- the picture
def _spectra(layers: Sequence[LayerReport]) -> list[str]:
    """Return one panel for each family: a row for each layer, a cell for each singular value, and a bar of its size."""
    seen = [layer for layer in layers if not layer.facts.null]
    if not seen:
        return []
    top = max(layer.facts.spectral for layer in seen)
    low = min(float(_visible(layer).min()) for layer in seen)
    low, high = math.log10(low), math.log10(top)
    families: dict[str, list[LayerReport]] = {}
    for layer in sorted(seen, key=lambda layer: natural(layer.facts.module)):
        families.setdefault(layer.facts.family, []).append(layer)
    panels = [_panel(family, members, low, high, top) for family, members in sorted(families.items())]
    note = (
        "Each row is a layer, in the order of its depth; from left to right its singular values, coloured by size on a "
        "logarithmic scale; grey is zero up to the precision of the file. The bar is ||X||_2, on one scale for all."
    )
    legend = _legend(low, high)
    return [
        "<h2>The spectra of the updates</h2>",
        f'<p class="note">{note}</p>',
        legend,
        '<div class="panels">',
        *panels,
        "</div>",
    ]


def _visible(layer: LayerReport) -> Array:
    """Return the singular values that are not zero to the precision of the file."""
    sigma = layer.facts.sigma
    return sigma[sigma > layer.facts.rank_tol * sigma[0]]


def _panel(family: str, members: Sequence[LayerReport], low: float, high: float, top: float) -> str:
    columns = min(max(len(layer.facts.sigma) for layer in members), _COLUMNS)
    width, height = columns * _CELL + 6 + _BAR, len(members) * _ROW
    shapes = []
    for k, layer in enumerate(members):
        sigma, y = layer.facts.sigma, k * _ROW
        places = np.unique(np.linspace(0, len(sigma) - 1, min(len(sigma), _COLUMNS)).round().astype(int))
        cells = []
        for column, place in enumerate(places):
            colour = _NOTHING
            if sigma[place] > layer.facts.rank_tol * sigma[0]:
                colour = _colour((math.log10(sigma[place]) - low) / ((high - low) or 1.0))
            cells.append(f'<rect x="{column * _CELL}" y="{y}" width="{_CELL}" height="{_ROW - 1}" fill="{colour}"/>')
        length = max(_BAR * layer.facts.spectral / top, 0.5)
        fill = "#b3261e" if layer.findings else "#5a6373"
        cells.append(
            f'<rect x="{columns * _CELL + 6}" y="{y}" width="{length:.1f}" height="{_ROW - 1}" fill="{fill}"/>'
        )
        told = f"{layer.facts.module}: ||X||_2 = {layer.facts.spectral:.3g}, rank {layer.facts.rank}"
        shapes.append(f"<g><title>{_safe(told)}</title>{''.join(cells)}</g>")
    label = f"{printable(family)} ({counted(len(members), 'layer')})"
    svg = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{_safe(label)}">'
        f"{''.join(shapes)}</svg>"
    )
    return f"<figure><figcaption>{_safe(label)}</figcaption>{svg}</figure>"


def _legend(low: float, high: float) -> str:
    steps = 24
    cells = "".join(
        f'<rect x="{k * 8}" y="0" width="8" height="10" fill="{_colour(k / (steps - 1))}"/>' for k in range(steps)
    )
    words = (
        f'<text x="0" y="24" font-size="11">{10**low:.2g}</text>'
        f'<text x="{steps * 8}" y="24" font-size="11" text-anchor="end">{10**high:.2g}</text>'
    )
    size = f'viewBox="0 0 {steps * 8} 28" width="{steps * 8}" height="28"'
    return f'<svg {size} role="img" aria-label="scale of the singular values">{cells}{words}</svg>'


def _colour(position: float) -> str:
    """Return the colour at a place from 0 to 1 of the scale."""
    place = min(max(position, 0.0), 1.0) * (len(_COLOURS) - 1)
    k = min(int(place), len(_COLOURS) - 2)
    mixed = [round(a + (place - k) * (b - a)) for a, b in zip(_COLOURS[k], _COLOURS[k + 1])]
    return "#" + "".join(f"{value:02x}" for value in mixed)

#!/usr/bin/env python3
"""Draws src/eval/change_by_length.svg from the tables of src/eval/README.md section 6. It needs only Python.

Usage: draw_change_by_length.py [README [SVG]]

Two panels share the lengths: all changes on one linear scale, and the same magnified around no change, with RSE's
control. Bars are the intervals that the table gives.
"""
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "src" / "eval"
WIDTH, HEIGHT, LEFT, RIGHT = 780, 420, 64, 176
UPPER = {"top": 44, "bottom": 214, "low": 0.0, "high": 5.0, "ticks": (0, 1, 2, 3, 4, 5)}
LOWER = {"top": 258, "bottom": 376, "low": -0.03, "high": 0.03, "ticks": (-0.02, 0, 0.02)}
# The colours are Okabe and Ito's. Dashes and the label at a line's end tell lines apart without colour.
STYLES = {"learned": ("#CC79A7", ""), "RoPE": ("#D55E00", ""), "RSE": ("#0072B2", ""), "control": ("#0072B2", "5 4")}
NUMBER = r"[+-]?\d+\.\d+"
CELL = re.compile(rf"\**({NUMBER})\**(?:\s*\[({NUMBER}), ({NUMBER})\])?")


def read_tables(text):
    """Returns [(name of a row, its lengths, [(change, low, high)])]. low and high are None where no interval is given."""
    rows, lengths, control = [], [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            lengths = []
        elif cells[-1] == "16,384":  # the head of a table
            heads = [re.fullmatch(r"(?:change at )?([\d,]+)", cell) for cell in cells[1:]]
            lengths = [int(head.group(1).replace(",", "")) for head in heads if head]
            control = cells[0] == "control"
        elif lengths and not line.startswith("|---"):
            found = [CELL.fullmatch(cell).groups() for cell in cells[-len(lengths):]]
            name = cells[0].strip("*").split(",")[0]
            values = [tuple(None if number is None else float(number) for number in groups) for groups in found]
            rows.append(("control of " + name if control else name, lengths, values))
    return rows


def x_at(length):
    return LEFT + (length.bit_length() - 10) * (WIDTH - LEFT - RIGHT) / 5


def y_at(panel, value):
    share = (value - panel["low"]) / (panel["high"] - panel["low"])
    return panel["bottom"] - share * (panel["bottom"] - panel["top"])


def words(x, y, text, anchor="middle", colour="#333333", weight="normal"):
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-weight="{weight}">{text}</text>'


def axes(panel, title, signed):
    marks = [words(LEFT - 44, panel["top"] - 14, title, "start", "#333333", "bold")]
    for tick in panel["ticks"]:
        y = y_at(panel, tick)
        colour = "#888888" if tick == 0 else "#e4e4e4"
        marks.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{colour}" fill="none"/>')
        label = f"{tick:+.2f}" if signed and tick else f"{tick:+d}" if tick else "0"
        marks.append(words(LEFT - 8, y + 4, label.replace("-", "\u2212"), "end"))
    return marks


def curve(panel, clip, style, lengths, values, bars):
    colour, dash = STYLES[style]
    points = [(x_at(length), value) for length, value in zip(lengths, values)]
    path = "L".join(f"{x:.1f} {y_at(panel, value[0]):.1f}" for x, value in points)
    marks = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>']
    for x, (value, low, high) in points:
        marks.append(f'<circle cx="{x:.1f}" cy="{y_at(panel, value):.1f}" r="3" fill="{colour}"/>')
        if bars and low is not None:
            marks.append(f'<path d="M{x:.1f} {y_at(panel, low):.1f}V{y_at(panel, high):.1f}" stroke="{colour}"/>')
    return f'<g clip-path="url(#{clip})">' + "".join(marks) + "</g>"


def draw(rows):
    full = {name: ([512] + lengths, [(0.0, None, None)] + values)
            for name, lengths, values in rows if not name.startswith("control")}
    control = next((lengths, values) for name, lengths, values in rows if name == "control of RSE")
    marks = ['<rect width="100%" height="100%" fill="#ffffff"/>', "<defs>"]
    for clip, panel in (("upper", UPPER), ("lower", LOWER)):
        height = panel["bottom"] - panel["top"] + 12
        marks.append(f'<clipPath id="{clip}"><rect x="{LEFT - 4}" y="{panel["top"] - 6}" '
                     f'width="{WIDTH - LEFT - RIGHT + 8}" height="{height}"/></clipPath>')
    marks.append("</defs>")
    marks += axes(UPPER, "Change of NLL from 512 tokens, nats per masked token", signed=False)
    marks += axes(LOWER, "The same, magnified", signed=True)
    for name, (lengths, values) in full.items():
        marks.append(curve(UPPER, "upper", name, lengths, values, bars=True))
        marks.append(curve(LOWER, "lower", name, lengths, values, bars=True))
        marks.append(words(WIDTH - RIGHT + 10, y_at(UPPER, values[-1][0]) + 4,
                           name + (" (tiled table)" if name == "learned" else ""), "start", STYLES[name][0], "bold"))
    marks.append(curve(LOWER, "lower", "control", *control, bars=False))
    end = WIDTH - RIGHT + 10
    marks.append(words(end, y_at(LOWER, full["RSE"][1][-1][0]) + 13, "RSE", "start", STYLES["RSE"][0], "bold"))
    marks.append(words(end, y_at(LOWER, control[1][-1][0]) - 5, "RSE, attention within 255", "start", STYLES["RSE"][0]))
    for length in full["RSE"][0]:
        marks.append(words(x_at(length), LOWER["bottom"] + 18, f"{length:,}"))
    marks.append(words((LEFT + WIDTH - RIGHT) / 2, LOWER["bottom"] + 36, "tokens per sequence; trained on 512"))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="12">\n' + "\n".join(marks) + "\n</svg>\n")


def main(arguments):
    readme = pathlib.Path(arguments[0]) if arguments else FOLDER / "README.md"
    svg = pathlib.Path(arguments[1]) if len(arguments) > 1 else FOLDER / "change_by_length.svg"
    svg.write_text(draw(read_tables(readme.read_text())))


main(sys.argv[1:])

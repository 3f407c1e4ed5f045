"""The figures of a report, from evaluation.json and a run's metrics.

draw_all() returns {name: Drawing} in the order of the report. The place of an arm in the evaluation decides its colour and
its mark, so that arms can be told apart without colour, too.
"""
import base64
import io
import math

import matplotlib

matplotlib.use("Agg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Okabe and Ito (2008), in an order that also differs in lightness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH = 7.2  # inches
CURVE_POINTS = 300
SMOOTHING_SHARE = 0.01  # of a run's updates

matplotlib.rcParams.update({
    "svg.fonttype": "path", "svg.hashsalt": "rse", "font.size": 10, "axes.titlesize": 10.5, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.7,
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.7, "lines.markersize": 5,
    "figure.facecolor": "white", "savefig.facecolor": "white", "pdf.fonttype": 42, "text.parse_math": False})


class Drawing:
    """A figure with its title and a caption that says what it shows."""

    def __init__(self, figure, title, caption):
        self.title, self.caption = title, caption
        self._figure = figure

    def render(self, suffix):
        stream = io.BytesIO()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
        self._figure.savefig(stream, format=suffix, dpi=200, metadata=metadata, bbox_inches="tight")
        return stream.getvalue()

    def data_uri(self):
        return "data:image/svg+xml;base64," + base64.b64encode(self.render("svg")).decode("ascii")


def draw_all(evaluation, metrics):
    drawings = {"length": draw_lengths(evaluation)}
    if any(row["over_control"] for arm in evaluation["arms"] for row in arm["results"]):
        drawings["control"] = draw_control(evaluation)
    drawings["edges"] = draw_edges(evaluation)
    if evaluation["decay"]:
        drawings["decay"] = draw_decay(evaluation)
    curves = evaluated_curves(evaluation, metrics or {})
    if any(curves.values()):
        drawings["training"] = draw_training(evaluation, curves)
    pyplot.close("all")
    return drawings


def styles(evaluation):
    """Returns {arm: (colour, mark)}."""
    return {arm["arm"]: (COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)]) for i, arm in enumerate(evaluation["arms"])}


def rows(arm, attention, key):
    """Returns [(length, estimate)] of the rows that have the estimate `key`."""
    return [(row["length"], row[key]) for row in sorted(arm["results"], key=lambda row: row["length"])
            if row["attention"] == attention and row[key] is not None]


def figure_of(panels, height, shared_x=True):
    figure, axes = pyplot.subplots(panels, 1, figsize=(WIDTH, height * panels), sharex=shared_x, squeeze=False,
                                   layout="constrained")
    return figure, [row[0] for row in axes]


def legend_above(figure, handles):
    """Draws the legend outside the axes, so that it covers nothing."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), 90 // (longest + 8)))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


def arm_handles(evaluation, lines=True):
    return [Line2D([], [], color=colour, marker=mark, linestyle="-" if lines else "", label=name)
            for name, (colour, mark) in styles(evaluation).items()]


def draw_estimates(axes, points, colour, mark, dashed=False):
    if not points:
        return
    x = [length for length, _ in points]
    axes.plot(x, [estimate["mean"] for _, estimate in points], color=colour, marker=mark,
              linestyle=(0, (4, 2)) if dashed else "-", markerfacecolor="white" if dashed else colour,
              linewidth=1.2 if dashed else 1.7)
    band = [(length, estimate) for length, estimate in points if estimate["low"] is not None]
    if band and not dashed:
        axes.fill_between([length for length, _ in band], [estimate["low"] for _, estimate in band],
                          [estimate["high"] for _, estimate in band], color=colour, alpha=0.2, linewidth=0)


def length_axis(axes, evaluation):
    lengths = sorted({row["length"] for arm in evaluation["arms"] for row in arm["results"]})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if len(lengths) > 8:
        axes.tick_params(axis="x", rotation=30)


def mark_trained_length(axes, evaluation, label):
    trained = evaluation["protocol"]["trained_length"]
    axes.axvline(trained, color="#555555", linestyle=":", linewidth=1.2, zorder=1)
    if label:
        axes.annotate(f"trained on {trained:,}", (trained, 1), xycoords=("data", "axes fraction"), xytext=(3, 3),
                      textcoords="offset points", fontsize=8.5, color="#333333", va="bottom")


def change_axis(axes, values):
    """Makes the axis linear where all changes have about the same size. Otherwise it is linear near 0 and logarithmic
    beyond, so that small changes show."""
    axes.axhline(0, color="#333333", linewidth=0.9, zorder=1)
    sizes = sorted(abs(value) for value in values if value != 0)
    if not sizes or sizes[-1] < 20 * sizes[len(sizes) // 2]:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
        return ""
    threshold = 10.0 ** min(math.floor(math.log10(sizes[len(sizes) // 2])), math.ceil(math.log10(sizes[-1])) - 1)
    axes.set_yscale("symlog", linthresh=threshold)

    def decades(farthest):
        """Returns ticks up to the first multiple of `threshold` by a power of ten that is not below `farthest`."""
        count = max(0, math.ceil(math.log10(farthest / threshold) - 1e-9)) if farthest > 0 else -1
        return [threshold * 10 ** i for i in range(count + 1)]

    above, below = decades(max(values)), decades(-min(values))
    axes.set_ylim(-below[-1] if below else -threshold / 3, above[-1] if above else threshold / 3)
    axes.yaxis.set_major_locator(FixedLocator([-tick for tick in reversed(below)] + [0.0] + above))
    axes.yaxis.set_minor_locator(FixedLocator([sign * factor * tick for sign, ticks in ((1, above), (-1, below))
                                               for tick in ticks[:-1] for factor in (2, 5)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
    return f"; the axis is linear within ±{threshold:g} and logarithmic beyond"


def signed(value):
    return "0" if abs(value) < 1e-12 else f"{value:+.10g}".replace("-", "\N{MINUS SIGN}")


def estimate_values(points):
    return [value for _, estimate in points for value in (estimate["mean"], estimate["low"], estimate["high"])
            if value is not None]


def interval_words(evaluation):
    if evaluation["protocol"]["documents"] < 2:
        return "One document, so no intervals."
    if any(len(arm["seeds"]) > 1 for arm in evaluation["arms"]):
        return "Bands: 95 % bootstrap intervals over seeds and documents."
    return "Bands: 95 % bootstrap intervals over documents (one seed: about the trained models only)."


def draw_lengths(evaluation):
    figure, (top, bottom) = figure_of(2, 3.3)
    style = styles(evaluation)
    changes, controlled = [], False
    for arm in evaluation["arms"]:
        colour, mark = style[arm["arm"]]
        for attention in ("control", "full"):
            dashed = attention == "control"
            controlled = controlled or (dashed and bool(rows(arm, attention, "nll")))
            draw_estimates(top, rows(arm, attention, "nll"), colour, mark, dashed)
            points = rows(arm, attention, "difference")
            if not dashed:
                base = {"mean": 0.0, "low": 0.0, "high": 0.0}
                points = sorted(points + [(evaluation["protocol"]["trained_length"], base)], key=lambda point: point[0])
            draw_estimates(bottom, points, colour, mark, dashed)
            changes += estimate_values(points)
    scale = change_axis(bottom, changes)
    for axes in (top, bottom):
        length_axis(axes, evaluation)
        mark_trained_length(axes, evaluation, axes is top)
    top.set_ylabel("NLL, nats per target")
    top.set_title("Mean over all targets", pad=18)
    bottom.set_ylabel("change of NLL, nats")
    bottom.set_title(f"Change from {evaluation['protocol']['trained_length']:,} tokens, paired by target (below 0: better)")
    bottom.set_xlabel("length of the sequences that texts are cut into, tokens")
    handles = arm_handles(evaluation)
    if controlled:
        window = evaluation["protocol"]["control_window"]
        handles.append(Line2D([], [], color="#444444", linestyle=(0, (4, 2)), marker="o", markerfacecolor="white", linewidth=1.2,
                              label=f"control: attention within {window - 1:,} tokens"))
    legend_above(figure, handles)
    control = " Dashed: the same models with attention only nearby." if controlled else ""
    return Drawing(figure, "Loss against the length of the sequence",
                   f"Above: mean NLL. Below: the same as change from the trained length, every document alike{scale}. "
                   f"{interval_words(evaluation)}{control}")


def draw_control(evaluation):
    figure, (axes,) = figure_of(1, 3.6)
    values = []
    for arm in evaluation["arms"]:
        points = rows(arm, "full", "over_control")
        draw_estimates(axes, points, *styles(evaluation)[arm["arm"]])
        values += estimate_values(points)
    scale = change_axis(axes, values)
    length_axis(axes, evaluation)
    mark_trained_length(axes, evaluation, True)
    axes.set_ylabel("full minus control, nats")
    axes.set_xlabel("length of the sequences that texts are cut into, tokens")
    legend_above(figure, arm_handles(evaluation))
    return Drawing(figure, "Full attention against attention only nearby",
                   "NLL with full attention minus NLL of the control at the same length, every document alike. Below 0: distant "
                   f"context helps. Above 0: length does harm{scale}. {interval_words(evaluation)}")


def bucket_label(bucket):
    return f"{bucket['first']:,}" if bucket["first"] == bucket["last"] else f"{bucket['first']:,}–{bucket['last']:,}"


def draw_edges(evaluation):
    arms = evaluation["arms"]
    figure, panels = figure_of(len(arms), 2.7)
    lengths = sorted({row["length"] for arm in arms for row in arm["results"] if row["attention"] == "full"})
    palette = pyplot.get_cmap("cividis")
    shades = {length: palette(0.95 * i / max(1, len(lengths) - 1)) for i, length in enumerate(lengths)}
    labels = {}
    for arm, axes in zip(arms, panels):
        for row in arm["results"]:
            if row["attention"] != "full":
                continue
            places = [bucket["first"].bit_length() for bucket in row["edges"]]
            labels.update({place: f"{bucket['first']:,}" for place, bucket in zip(places, row["edges"])})
            axes.plot(places, [bucket["nll"] for bucket in row["edges"]], color=shades[row["length"]],
                      marker=MARKS[lengths.index(row["length"]) % len(MARKS)], linewidth=1.3, markersize=4)
        axes.set_title(arm["arm"])
        axes.set_ylabel("NLL, nats per target")
    for axes in panels:
        axes.xaxis.set_major_locator(FixedLocator(sorted(labels)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.get(round(value), "")))
        axes.tick_params(axis="x", rotation=45 if len(labels) > 9 else 0)
    panels[-1].set_xlabel("distance to the nearer edge of the sequence, tokens: from here to below the next mark")
    legend_above(figure, [Line2D([], [], color=shades[length], marker=MARKS[i % len(MARKS)], linewidth=1.3, markersize=4,
                                 label=f"{length:,} tokens") for i, length in enumerate(lengths)])
    return Drawing(figure, "Loss by distance to the edge of the sequence",
                   "Mean NLL of the targets in each range of distances (0, 1, 2–3, 4–7, ...), full attention, mean over seeds. "
                   "Few targets lie near an edge, so the first points are noisy; tables give the counts.")


def draw_decay(evaluation):
    arms = [arm["arm"] for arm in evaluation["arms"] if any(row["arm"] == arm["arm"] for row in evaluation["decay"])]
    figure, panels = figure_of(len(arms), 3.2, shared_x=False)
    clipped = False
    for name, axes in zip(arms, panels):
        replicas = [row for row in evaluation["decay"] if row["arm"] == name]
        positive = [value for row in replicas for heads in row["lambda"] for value in heads if value > 0]
        floor = min(positive, default=1e-6) / 2
        colour, _ = styles(evaluation)[name]
        for number, replica in enumerate(replicas):
            shift = 0.5 * ((number + 0.5) / len(replicas) - 0.5)
            x = [layer + shift for layer, heads in enumerate(replica["lambda"], 1) for _ in heads]
            y = [max(value, floor) for heads in replica["lambda"] for value in heads]
            clipped = clipped or any(value <= 0 for heads in replica["lambda"] for value in heads)
            axes.scatter(x, y, s=24, color=colour, marker=MARKS[number % len(MARKS)], alpha=0.75, linewidth=0,
                         label=f"seed {replica['seed']}")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_locator(FixedLocator(range(1, len(replicas[0]["lambda"]) + 1)))
        axes.set_xlim(0.4, len(replicas[0]["lambda"]) + 0.6)
        axes.set_title(name)
        axes.set_ylabel("λ, per token of distance")
        axes.set_xlabel("layer")
        if len(replicas) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    note = " A λ of 0 is drawn at the lower border." if clipped else ""
    return Drawing(figure, "Decay λ of every head", "One mark per head, by layer. A large λ makes a head local, a small one lets it "
                   f"look far: at a distance of 1/λ tokens a logit has fallen by 1.{note}")


def smoothed(curve, window):
    """Returns at most CURVE_POINTS points (step, mean of the `window` points around it), the first and the last included."""
    sums = [0.0]
    for _, value in curve:
        sums.append(sums[-1] + value)
    count = min(CURVE_POINTS, len(curve))
    points = []
    for index in sorted({round(i * (len(curve) - 1) / max(1, count - 1)) for i in range(count)}):
        begin, end = max(0, index - window // 2), min(len(curve), index + window // 2 + 1)
        points.append((curve[index][0], (sums[end] - sums[begin]) / (end - begin)))
    return points


def evaluated_curves(evaluation, metrics):
    """Returns the curves of the arms and seeds that were evaluated, without empty ones."""
    evaluated = {(replica["arm"], replica["seeds"][0]) for replica in evaluation["replicas"]}
    return {kind: {key: curve for key, curve in replicas.items() if key in evaluated and curve}
            for kind, replicas in metrics.items()}


def draw_training(evaluation, curves):
    style = styles(evaluation)
    kinds = [kind for kind in ("update", "validation") if curves[kind]]
    figure, panels = figure_of(max(1, len(kinds)), 2.9)
    steps = max((len(curve) for curve in curves["update"].values()), default=1)
    window = max(1, round(SMOOTHING_SHARE * steps))
    window += 1 - window % 2  # an odd window has a middle
    for kind, axes in zip(kinds, panels):
        for (arm, _), curve in curves[kind].items():
            colour, mark = style[arm]
            points = smoothed(curve, window) if kind == "update" else curve
            axes.plot([step for step, _ in points], [value for _, value in points], color=colour, linewidth=1.1, alpha=0.9,
                      marker=mark if kind == "validation" else None, markersize=4)
        axes.set_ylabel("NLL, nats per target")
        axes.set_title("Training" if kind == "update" else "Validation")
    for axes in panels:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panels[-1].set_xlabel("update")
    legend_above(figure, arm_handles(evaluation))
    return Drawing(figure, "Training and validation", "One line per seed. Training loss: mean of the "
                   f"{window:,} update{'' if window == 1 else 's'} around each point, at most {CURVE_POINTS} points per line; validation as measured.")

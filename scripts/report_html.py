"""The page of a report: one HTML file with its figures inside, every text escaped."""
import html
import re

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 58rem; font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a;
  background: #fff; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
h2, h3, .note { break-after: avoid; }
figure { margin: 1rem 0; break-inside: avoid; } figure img { width: 100%; max-width: 46rem; height: auto; display: block; }
figcaption, .note { font-size: .9rem; color: #444; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .45rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; vertical-align: top; }
th { text-align: right; border-bottom: 2px solid #888; white-space: normal; } th:first-child, td:first-child { text-align: left; }
td small { color: #444; }
td:first-child { white-space: normal; min-width: 5rem; }
th.text { text-align: left; }
td.text { text-align: left; white-space: normal; min-width: 9rem; }
li { margin: .35rem 0; } pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .8rem; white-space: pre-wrap; }
.headlines { padding-left: 0; list-style: none; }
.headlines li { margin: .7rem 0; padding-left: .8rem; border-left: .25rem solid #888; }
.headlines .warning, p.warning { border-left-color: #d55e00; }
p.warning { padding: .5rem .8rem; border-left: .25rem solid #d55e00; background: #fff3e8; font-weight: 600; }
details { border-top: 1px solid #ccc; } section > details:last-of-type { border-bottom: 1px solid #ccc; }
summary { cursor: pointer; font-size: 1.05rem; font-weight: 600; padding: .55rem 0; } summary:hover { background: #f5f5f5; }
details > div { padding: 0 0 1rem; } details details { border: 0; }
@media print { body { max-width: none; font-size: 10pt; } table { font-size: 7.5pt; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .wide { overflow: visible; } th, td { padding: .1rem .3rem; white-space: normal; } tr { break-inside: avoid; } }
"""


def text(value):
    return html.escape(str(value))


def prose(sentence):
    """Returns a sentence of the analysis with minus signs in place of hyphens, and without line breaks inside an interval or
    before a %."""
    sentence = re.sub(r"(?<=[ (\[])-(?=\d)", "−", str(sentence))
    sentence = re.sub(r"\[([^ \]]+), ([^ \]]+)\]", "[\\1,\u00a0\\2]", sentence)
    return text(sentence.replace(" %", "\u00a0%"))


def number(value, digits=4):
    return "" if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value):
    """Returns +0.0123 or −2.713: small values have four decimals, others three."""
    return f"{value:+.{4 if abs(value) < 0.1 else 3}f}".replace("-", "−")


def grouped(value):
    return "" if value is None else f"{value:,}"


class Measured:
    """A value in a table: the mean, and its interval on a second line."""

    def __init__(self, estimate, write):
        self.mean = "" if estimate is None else write(estimate["mean"])
        self.interval = ""
        if estimate is not None and estimate["low"] is not None:
            self.interval = f"[{write(estimate['low'])}, {write(estimate['high'])}]"

    def markup(self):
        return text(self.mean) + (f"<br><small>{text(self.interval)}</small>" if self.interval else "")


def change(estimate):
    return Measured(estimate, signed)


def level(estimate):
    return Measured(estimate, number)


def cell_markup(value):
    return value.markup() if isinstance(value, Measured) else text(value)


def scaled(value, units, base):
    """Returns a value with its unit, such as 1.5 GiB or 2.1 M, or "not known" for None."""
    if value is None:
        return "not known"
    index = 0
    while abs(value) >= base and index < len(units) - 1:
        value, index = value / base, index + 1
    return (f"{value:,.0f}" if index == 0 else f"{value:.3g}") + (f" {units[index]}" if units[index] else "")


def memory(value):
    return scaled(value, ("B", "KiB", "MiB", "GiB", "TiB"), 1024)


def amount(value):
    return scaled(value, ("", "k", "M", "G", "T"), 1000)


def table(heads, rows, text_columns=()):
    """Returns a table. `rows` are lists of unescaped values and of Measured."""
    head = "".join(f'<th scope="col"{" class=text" if i in text_columns else ""}>{text(cell)}</th>'
                   for i, cell in enumerate(heads))
    body = "".join("<tr>" + "".join(
        f'<td class="text">{text(cell)}</td>' if i in text_columns else f"<td>{cell_markup(cell)}</td>"
        for i, cell in enumerate(row)) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def drawing(figure):
    return (f'<figure><img src="{figure.data_uri()}" alt="{text(figure.title + ": " + figure.caption)}">'
            f"<figcaption>{text(figure.caption)}</figcaption></figure>\n")


def result_rows(arms, seeds):
    """Returns one row per arm (or replica) and length, with full attention beside its control."""
    rows = []
    for arm in arms:
        controls = {row["length"]: row for row in arm["results"] if row["attention"] == "control"}
        for row in arm["results"]:
            if row["attention"] != "full":
                continue
            control = controls.get(row["length"])
            rows.append([arm["arm"], seeds(arm), grouped(row["length"]), level(row["nll"]), change(row["difference"]),
                         level(control["nll"]) if control else "", change(control["difference"]) if control else "",
                         change(row["over_control"]), f"{row['seconds'] + (control['seconds'] if control else 0):,.1f}"])
    return rows


def results(evaluation):
    base = f"minus full at {evaluation['protocol']['trained_length']:,}"
    heads = ["arm", "seeds", "length, tokens", "NLL, nats", base, "control's NLL", f"control {base}", "full minus control",
             "time, s"]
    several = any(len(arm["seeds"]) > 1 for arm in evaluation["arms"])
    parts = ['<p class="note">NLL: mean over all targets. Differences: paired by target, mean inside each document, then over '
             "documents, every document alike. In brackets: 95 % bootstrap intervals"
             f"{', over seeds and documents' if several else ', over documents'}.</p>\n",
             table(heads, result_rows(evaluation["arms"], lambda arm: len(arm["seeds"])))]
    if several:
        heads[1] = "seed"
        alone = ('<p class="note">Intervals over documents: claims about this one model.</p>\n' +
                 table(heads, result_rows(evaluation["replicas"], lambda arm: arm["seeds"][0])))
        parts.append(folded("replicas", "Each trained model alone", alone))
    return "".join(parts)


def comparisons(evaluation):
    if not evaluation["comparisons"]:
        return "<p>One arm: nothing to compare.</p>\n"
    rows = [[f"{row['first']} − {row['second']}", grouped(row["length"]), len(row["seeds"]), change(row["difference"]),
             f"{row['p']:.3g}", f"{row['p_holm']:.3g}", f"{row['smallest_p_holm']:.3g}",
             "" if row["detectable"] is None else f"{row['detectable']:.3g}", row["verdict"]]
            for row in evaluation["comparisons"]]
    return ('<p class="note">Full attention, paired by seed (same batches, same start of what arms share) and by target. p: exact '
            "two-sided sign-flip test over seeds; Holm's correction over all rows. Detectable: the difference that a paired t "
            "test at level 0.05 would have shown with probability 0.8, given the spread between these seeds, uncorrected.</p>\n" +
            table(["pair", "length, tokens", "seeds", "difference of NLL, nats", "p", "p after Holm", "smallest reachable",
                   "detectable, nats", "verdict"], rows, {8}))


def measured_on(cost):
    device = cost.get("device")
    return f"trained on {text(device)}; " if device else ""


def costs(evaluation):
    rows = []
    for cost in evaluation["costs"]:
        step = "not known"
        if cost["step_ms_median"] is not None:
            step = f"{cost['step_ms_median']:.2f}"
            if cost["step_ms_interquartile_range"] is not None:
                step += f" ({cost['step_ms_interquartile_range']:.2f})"
        rows.append([cost["arm"], step, amount(cost["tokens_per_second"]),
                     "not known" if cost["mfu"] is None else f"{100 * cost['mfu']:.1f} %", memory(cost["memory_bytes"]),
                     grouped(cost["parameters"]), grouped(cost["position_parameters"]), grouped(cost["decay_parameters"]),
                     memory(cost["table_bytes"]), amount(cost["flop_per_token"])])
    notes = "".join(
        f"<li>{text(cost['arm'])}: {measured_on(cost)}differs from the base settings in {text(cost['differs'] or 'nothing')}; FLOP per "
        f"token, forward and backward: {text(cost['flop_formula'])}</li>\n" for cost in evaluation["costs"])
    return table(["arm", "ms per step (interquartile range)", "tokens/s", "MFU", "peak memory", "parameters", "position's own",
                  "λ", "tables and buffers", "FLOP per token"], rows) + f"<ul>\n{notes}</ul>\n"


def edge_counts(evaluation):
    """Returns a table of the targets in each range of distances, which are the same for every arm."""
    results_of_first = [row for row in evaluation["arms"][0]["results"] if row["attention"] == "full"]
    firsts = sorted({(bucket["first"], bucket["last"]) for row in results_of_first for bucket in row["edges"]})
    starts = sorted({first for first, _ in firsts})
    rows = []
    for row in results_of_first:
        counts = {bucket["first"]: bucket["targets"] for bucket in row["edges"]}
        rows.append([grouped(row["length"])] + [grouped(counts.get(start, 0)) for start in starts])
    return '<p class="note">Targets by distance to the edge, from the distance named on:</p>\n' + table(
        ["length"] + [f"{start:,}" for start in starts], rows)


def protocol(evaluation):
    values = evaluation["protocol"]
    masking, bootstrap = values["masking"], values["bootstrap"]
    rest = 1 - masking["mask_share"] - masking["random_share"]
    window = values["control_window"]
    rows = [
        ("run", values["run"]), ("checkpoint", f"after {values['step']:,} updates"), ("texts", values["data"]),
        ("pieces", f"{values['pieces']:,} of {values['piece_tokens']:,} tokens ({values['piece_selection']})"),
        ("targets", f"{values['targets']:,} in {values['documents']:,} documents; the same for every arm, seed, length and control"),
        ("texts that the run has seen", evaluation.get("overlap", {}).get("in_words", "not looked for")),
        ("unigram entropy of the texts", f"{values['unigram_entropy']:.4f} nats"),
        ("trained length", f"{values['trained_length']:,} tokens"),
        ("lengths", ", ".join(f"{length:,}" for length in values["lengths"])),
        ("control", f"the same models, attention only where |i − j| < {window:,}" if window else "not evaluated"),
        ("learned positions beyond their table", values["beyond"] or "not needed"),
        ("masks", f"{masking['probability']:g} of the tokens are targets; of these {masking['mask_share']:g} become [MASK], "
                  f"{masking['random_share']:g} a random piece, {rest:.3g} stay; seed {masking['seed']}"),
        ("device", f"{values['device']}, {values['precision']}, {values['batch_tokens']:,} tokens per batch"),
        ("program", values["program"]),
        ("intervals", f"{100 * bootstrap['confidence']:g} % percentile bootstrap, {bootstrap['resamples']:,} resamples, seed "
                      f"{bootstrap['seed']}; one seed: documents are resampled; several: seeds and documents, the same documents for "
                      "all seeds"),
        ("verdicts between arms", f"from {values['seeds_for_a_verdict']} seeds on, where p after Holm's correction is at most 0.05 and the "
                                  "interval does not hold 0"),
        ("“holds”", f"the interval of the change holds 0 and stays within ±{values['hold_margin']:g} nats"),
        ("unigram plateau", f"NLL at the trained length not below {values['plateau_share']:g} times the unigram entropy"),
    ]
    return table(["setting", "value"], rows, {1})


def title_of(evaluation):
    names = [arm["arm"] for arm in evaluation["arms"]]
    listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    trained = evaluation["protocol"]["trained_length"]
    longest = max(row["length"] for arm in evaluation["arms"] for row in arm["results"])
    if longest == trained:
        return f"Trained and tested on {trained:,} tokens: {listed}"
    return f"Trained on {trained:,} tokens, tested on up to {longest:,}: {listed}"


def items(sentences):
    return "".join(f"<li>{prose(sentence)}</li>\n" for sentence in sentences)


def lead(evaluation):
    values = evaluation["protocol"]
    seeds = max(len(arm["seeds"]) for arm in evaluation["arms"])
    return (f"The models predict masked tokens: {values['targets']:,} fixed targets in {values['documents']:,} "
            f"document{'' if values['documents'] == 1 else 's'}, asked again at every length, with {seeds} "
            f"seed{'' if seeds == 1 else 's'} per arm. NLL is in nats per target; lower is better.")


def headline(evaluation):
    """Returns one or two sentences per arm and what holds between arms. An evaluation that was written without headlines
    shows all its findings instead."""
    if "headlines" not in evaluation:
        return f"<ul>\n{items(evaluation['findings'])}</ul>\n"
    headlines = evaluation["headlines"]
    warnings = "".join(f'<p class="warning">Warning: {prose(warning)}</p>\n' for warning in headlines.get("warnings", []))
    plateau = {arm["arm"] for arm in evaluation["arms"] if arm["on_unigram_plateau"]}
    parts = []
    for one in headlines["arms"]:
        name, rest = one["arm"], one["text"].removeprefix(one["arm"])
        marker = ' class="warning"' if name in plateau else ""
        parts.append(f"<li{marker}><strong>{text(name)}</strong>{prose(rest)}</li>\n")
    parts += [f"<li>{prose(headlines['between_arms'])}</li>\n"] if headlines["between_arms"] else []
    scope = f'<p class="note">{prose(headlines["scope"])}</p>\n' if headlines["scope"] else ""
    return f'{warnings}<ul class="headlines">\n{"".join(parts)}</ul>\n{scope}'


def folded(name, title, content):
    """Returns a section that opens on demand. The id lies inside, so that a link to it opens the section."""
    return f'<details>\n<summary>{text(title)}</summary>\n<div id="{name}">\n{content}</div>\n</details>\n'


def page(evaluation, figures, has_metrics):
    missing = ("The run folder has no metrics.jsonl, so there are no training curves." if not has_metrics
               else "metrics.jsonl holds no updates of these arms.")
    control = drawing(figures["control"]) if "control" in figures else "<p>The control was not evaluated.</p>\n"
    sections = [
        ("findings", "Every finding", f"<ul>\n{items(evaluation['findings'])}</ul>\n"),
        ("control", "Full attention against attention only nearby", control),
        ("results", "Results at every length", results(evaluation)),
        ("comparisons", "Comparisons between arms", comparisons(evaluation)),
        ("edges", figures["edges"].title, drawing(figures["edges"]) + edge_counts(evaluation)),
        ("decay", "Decay λ of every head", drawing(figures["decay"]) if "decay" in figures else "<p>No arm has a decay.</p>\n"),
        ("costs", "What each arm costs in training", costs(evaluation)),
        ("training", "Training and validation", drawing(figures["training"]) if "training" in figures else f"<p>{missing}</p>\n"),
        ("protocol", "Protocol", protocol(evaluation)),
        ("configuration", "Configuration of the run", f"<pre>{text(evaluation['configuration'])}</pre>\n")]
    title = title_of(evaluation)
    body = "".join(folded(*section) for section in sections)
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n<body>\n'
            f"<h1>{text(title)}</h1>\n<p>{text(lead(evaluation))}</p>\n"
            f'<section id="headlines">\n{headline(evaluation)}</section>\n'
            f'<section id="length">\n<h2>{text(figures["length"].title)}</h2>\n{drawing(figures["length"])}</section>\n'
            f"<section>\n<h2>Everything else</h2>\n{body}</section>\n</body>\n</html>\n")

"""What a benchmark found, as tables, CSV, JSON and a plot."""

import json
from collections import Counter, defaultdict
from dataclasses import asdict

import numpy as np

from recipes import files
from sb_keras import table
from tflite.profiler import REST

SLOWEST = 10


def format_table(rows):
    """Lays the rows out as an aligned table, followed by what XNNPACK left out of each file."""
    header = ("file", "threads", "median ms", "p10", "p90", "p99", "ratio", "kB", "partitions", "left out")
    cells = []
    for row in rows:
        latencies_ms = (row.latency_ms_median, row.latency_ms_p10, row.latency_ms_p90, row.latency_ms_p99)
        division = row.delegation
        cells.append(
            (
                row.label,
                str(row.threads),
                *(f"{latency_ms:.3f}" for latency_ms in latencies_ms),
                f"{row.ratio:.3f}",
                f"{row.size_bytes / 1000:.1f}",
                str(division.partitions),
                f"{len(division.left_out)} of {division.operators}",
            )
        )
    lines = _aligned(header, cells)
    for row in {row.label: row for row in rows}.values():  # the thread count changes nothing here
        if row.delegation.left_out:
            lines += ["", f"Operators of {row.label} outside XNNPACK:"]
        for name, count in _count_names(row).items():
            where = [f"#{each.index} {each.output}" for each in row.delegation.left_out if each.name == name]
            more = f", and {count - 3} more" if count > 3 else ""
            lines.append(f"  {name} × {count}: {', '.join(where[:3])}{more}")
    return "\n".join(lines)


def format_operators(row, operators):
    """Lays out where the time of one file goes: each kind of operator, and the slowest operators.

    Args:
        row: The file and its latency, which the sum over the operators is compared to.
        operators: What `operator_times` found in that file with that number of threads.
    """
    groups = defaultdict(list)
    for operator in operators:
        groups[operator.kind].append(operator)
    rest = groups.pop(REST)
    groups = dict(sorted(groups.items(), key=lambda item: -_latency_ms(item[1]))) | {REST: rest}
    slowest = sorted(operators[:-1], key=lambda operator: -operator.latency_ms_median)[:SLOWEST]
    by_kind = [(kind, str(len(group)), *_time_and_share(group)) for kind, group in groups.items()]
    alone = [(operator.kind, *_time_and_share([operator])) for operator in slowest]
    places = ["position, output", "", *map(_place, slowest)]
    lines = _aligned((f"slowest {len(slowest)}", "ms", "share"), alone)
    return "\n".join(
        [
            f"Operators of {row.label}, {thread_label(row.threads)}:",
            *_aligned(("kind", "count", "ms", "share"), by_kind),
            f"Together {_latency_ms(operators):.3f} ms; without profiling {row.latency_ms_median:.3f} ms.",
            "",
            *(f"{line}  {place}".rstrip() for line, place in zip(lines, places, strict=True)),
        ]
    )


def write_csv(rows, path):
    """Writes one line a row; the operators left out are counted by name, as in `CUMSUM:1 GATHER:2`."""
    records = []
    for row in rows:
        record = asdict(row)
        del record["delegation"]
        record["operators"] = row.delegation.operators
        record["partitions"] = row.delegation.partitions
        record["left_out"] = " ".join(f"{name}:{count}" for name, count in _count_names(row).items())
        records.append(record)
    files.write_csv(path, list(records[0]), [list(record.values()) for record in records])


def write_json(rows, path, operators=()):
    """Writes a list of objects with `Row`'s fields.

    Args:
        rows: The rows.
        path: The file.
        operators: For each row, what `operator_times` found; it becomes one field more. Or nothing.
    """
    objects = [asdict(row) for row in rows]
    for each, times in zip(objects, operators, strict=False):
        each["operator_times"] = [asdict(time) for time in times]
    files.write_text(json.dumps(objects, indent=2) + "\n", path)


def write_plot(rows, path):
    """Draws a bar for each file and thread count: the median, with whiskers from p10 to p90."""
    from recipes.plots import new_figure, save  # slow to import, and most calls do not plot

    labels = list(dict.fromkeys(row.label for row in rows))
    thread_counts = list(dict.fromkeys(row.threads for row in rows))
    height = 0.8 / len(thread_counts)
    figure, ((axes,),) = new_figure(size=(8, 1.4 + 0.42 * len(rows)))
    for turn, threads in enumerate(thread_counts):
        group = [row for row in rows if row.threads == threads]
        y = np.arange(len(labels)) + (turn - (len(thread_counts) - 1) / 2) * height
        medians = np.array([row.latency_ms_median for row in group])
        p10 = np.array([row.latency_ms_p10 for row in group])
        p90 = np.array([row.latency_ms_p90 for row in group])
        axes.barh(
            y,
            medians,
            height=0.9 * height,
            xerr=(medians - p10, p90 - medians),
            color=f"C{turn}",
            alpha=0.85,
            error_kw={"elinewidth": 1, "capsize": 2.5, "ecolor": "0.2"},
            label=thread_label(threads),
        )
        for position, end, row in zip(y, p90, group, strict=True):
            text = f"{row.latency_ms_median:.3g} ms" + (f"  (×{row.ratio:.2f})" if len(labels) > 1 else "")
            axes.annotate(text, (end, position), (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()  # the first file on top, as in the table
    axes.margins(x=0.28)  # room for the numbers behind the bars
    axes.set_xlim(left=0)
    axes.set_xlabel("latency / ms")
    axes.grid(visible=False)
    title = f"Median and p10–p90 of {rows[0].runs} runs"
    if len(thread_counts) == 1:
        title += f", {thread_label(thread_counts[0])}"
    else:
        figure.legend(loc="outside lower center", ncols=len(thread_counts), frameon=False)
    axes.set_title(title, fontsize=11, loc="left")
    save(figure, path, dpi=150)


def thread_label(threads):
    """A number of threads in words: `1 thread`, `2 threads`."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def _aligned(header, cells):
    """Lines of a table, names on the left and numbers on the right."""
    return table.format_table(header, cells, "<" + ">" * (len(header) - 1)).splitlines()


def _latency_ms(operators):
    return sum(operator.latency_ms_median for operator in operators)


def _time_and_share(operators):
    share = sum(operator.share for operator in operators)
    return f"{_latency_ms(operators):.3f}", f"{100 * share:.1f} %"


def _place(operator):
    """Where an operator stands; of an output with several names, since operators were fused, the last."""
    name = operator.source.output.rpartition(";")[2] if operator.source else ""
    return f"#{operator.position} {name}".rstrip()


def _count_names(row):
    return Counter(operator.name for operator in row.delegation.left_out)

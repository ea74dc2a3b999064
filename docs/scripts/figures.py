"""Draws the pictures of the first page, light and dark: python docs/scripts/figures.py.

`layer-*.svg` is the layer, trunk and branch; `tiny-imagenet-*.svg` is what became of it, from `results/`.
"""

import json
import pathlib
import statistics

ROOT = pathlib.Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
# Of lines and words, of what is pale, of the trunk, of the branch.
THEMES = {
    "light": ("#1f2328", "#8c959f", "#0969da", "#bc4c00"),
    "dark": ("#e6edf3", "#7d8590", "#58a6ff", "#f0883e"),
}
NETWORKS = (
    ("static", "static"),
    ("se-block", "block-wise SE"),
    ("se", "SE in all layers"),
    ("sb", "SB in all layers"),
)


def svg(width, height, ink, parts):
    """A drawing of its parts; words are in the reader's own font."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
            f' height="{height}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif"'
            f' font-size="15" fill="{ink}" text-anchor="middle">',
            *parts,
            "</svg>\n",
        )
    )


def text(x, y, words, **style):
    attributes = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
    return f'<text x="{x}" y="{y}"{attributes}>{words}</text>'


def box(x, y, width, words, color):
    """A rounded box of height 40 around the point (x, y), with words in its middle."""
    return (
        f'<rect x="{x - width / 2:g}" y="{y - 20}" width="{width}" height="40" rx="8" fill="{color}"'
        f' fill-opacity="0.12" stroke="{color}" stroke-width="1.5"/>' + text(x, y + 5, words)
    )


def knot(x, y, sign, color):
    """A circle with the sign of an operation."""
    return f'<circle cx="{x}" cy="{y}" r="15" fill="none" stroke="{color}" stroke-width="1.5"/>' + text(
        x, y + 7, sign, font_size=22
    )


def arrow(points, color):
    """A line through points, with a head at the last one; its pieces are level or upright."""
    (x0, y0), (x1, y1) = points[-2:]
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    back_x, back_y = x1 - 9 * dx, y1 - 9 * dy
    head = f"{x1},{y1} {back_x + 5 * dy},{back_y + 5 * dx} {back_x - 5 * dy},{back_y - 5 * dx}"
    line = " ".join(f"{x},{y}" for x, y in (*points[:-1], (back_x, back_y)))
    return (
        f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>'
        f'<polygon points="{head}" fill="{color}"/>'
    )


def layer(ink, pale, trunk, branch):
    """y = T(x) + λ · tanh(F(x)): the trunk above, the branch below."""
    above, below, last = 60, 160, 720
    return svg(
        760,
        215,
        ink,
        (
            text(22, above + 6, "x", font_size=20, font_style="italic"),
            arrow([(38, above), (240, above)], trunk),
            box(315, above, 150, "convolution", trunk),
            text(315, above - 32, "trunk T", fill=trunk),
            arrow([(390, above), (last - 55, above)], trunk),
            f'<circle cx="70" cy="{above}" r="4" fill="{ink}"/>',
            arrow([(70, above), (70, below), (100, below)], branch),
            box(165, below, 130, "global average", branch),
            arrow([(230, below), (255, below)], branch),
            box(332, below, 150, "two dense layers", branch),
            text(254, below + 49, "branch F: one number a channel", fill=branch),
            arrow([(407, below), (440, below)], branch),
            box(475, below, 70, "tanh", branch),
            text(475, below - 32, "from −1 to 1", fill=pale),
            arrow([(510, below), (575, below)], branch),
            knot(590, below, "×", branch),
            arrow([(590, below + 32), (590, below + 15)], branch),
            text(590, below + 49, "λ, learned, one a channel", fill=branch),
            arrow([(605, below), (last - 40, below), (last - 40, above + 15)], branch),
            knot(last - 40, above, "+", ink),
            arrow([(last - 25, above), (last + 8, above)], ink),
            text(last + 24, above + 6, "y", font_size=20, font_style="italic"),
        ),
    )


def accuracies(kind):
    """Test accuracies in percent of the three seeds on Tiny-ImageNet."""
    folder = ROOT / "results" / "tinyimagenet"
    return [
        100 * json.loads((folder / f"{kind}-{seed}" / "result.json").read_text())["test_accuracy"]
        for seed in range(3)
    ]


def tiny_imagenet(ink, pale, trunk, branch):
    """A dot a seed and a line at the mean, a row a network."""
    left, right, row = 170, 700, 38
    scale = (right - left) / 25
    parts = [
        text(
            left + (right - left) / 2,
            24,
            "test accuracy on Tiny-ImageNet after 15 epochs, in percent; a dot a seed",
        )
    ]
    bottom = 52 + row * len(NETWORKS)
    for percent in range(0, 26, 5):
        x = left + scale * percent
        parts += [
            f'<path d="M{x:g} 42V{bottom}" stroke="{pale}" stroke-opacity="0.35"/>',
            text(f"{x:g}", bottom + 20, percent, fill=pale, font_size=13),
        ]
    for number, (kind, name) in enumerate(NETWORKS):
        y, color = 66 + row * number, branch if kind == "sb" else trunk
        values = accuracies(kind)
        mean = statistics.mean(values)
        x = left + scale * mean
        parts += [text(left - 14, y + 5, name, text_anchor="end")]
        parts += [
            f'<circle cx="{left + scale * value:.1f}" cy="{y}" r="5" fill="{color}" fill-opacity="0.6"/>'
            for value in values
        ]
        parts += [
            f'<path d="M{x:.1f} {y - 12}V{y + 12}" stroke="{color}" stroke-width="2.5"/>',
            text(f"{left + scale * max(values) + 14:.1f}", y + 5, f"{mean:.1f}", text_anchor="start"),
        ]
    return svg(760, bottom + 32, ink, parts)


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    for theme, colors in THEMES.items():
        (IMAGES / f"layer-{theme}.svg").write_text(layer(*colors), encoding="utf-8")
        (IMAGES / f"tiny-imagenet-{theme}.svg").write_text(tiny_imagenet(*colors), encoding="utf-8")

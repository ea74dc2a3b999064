"""Plots and drawings in one style, as PNG files."""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from recipes.files import replacing

# A page shows a sheet hardly narrower than this, so that its letters stay as large as the page's.
COLUMNS, CELL = 4, 2.2  # inches
SHEET_FONT, SHEET_CHARACTERS = 9, 28  # points, and how many letters a picture is wide
matplotlib.rcParams["text.parse_math"] = False  # the name of a class may have dollar signs
COLORS = [matplotlib.colormaps["tab20"](number) for number in range(20)]


def new_figure(rows=1, columns=1, size=(10.0, 4.0), title="", **kwargs):
    """An empty figure.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        size: Width and height in inches.
        title: Title of the figure.
        **kwargs: As `matplotlib.figure.Figure.subplots`.

    Returns:
        The figure, and an array of axes (rows, columns).
    """
    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for axes in grid.flat:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid


def color_map(count):
    """Matplotlib's colors for so many things that are drawn together."""
    return matplotlib.colormaps["tab20" if count > 10 else "tab10"]


def save(figure, path, dpi=120):
    """Writes a figure to a PNG file; see `recipes.files.replacing`."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")


def plot_curves(rows, metric, title, path):
    """Draws a training log: loss and metric over the epochs.

    Args:
        rows: The rows of `RunDirectory.log`.
        metric: Name of what is drawn beside the loss; a detector has none on its training images.
        title: Title of the picture.
        path: The PNG file to write.
    """
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) <= 30 else ""  # without one, a run of one epoch would not show
    figure, ((left, right),) = new_figure(columns=2, title=title)
    for prefix, label, color in (("", "training", "tab:blue"), ("val_", "validation", "tab:orange")):
        style = {"label": label, "color": color, "marker": marker, "markersize": 4, "clip_on": False}
        left.plot(epochs, [row[f"{prefix}loss"] for row in rows], **style)
        if f"{prefix}{metric}" in rows[0]:
            right.plot(epochs, [100 * row[f"{prefix}{metric}"] for row in rows], **style)
    left.set(ylabel="loss")
    right.set(ylabel=f"{metric.replace('_', ' ')} / %")
    for axes in (left, right):
        axes.set(xlabel="epoch", xlim=(0.5, len(rows) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    left.legend(frameon=False, loc="upper right")
    save(figure, path)


def draw_box(axes, box_yxyx, label=None, text="", **style):
    """Draws a box, relative to the picture of (size, size) pixels that the axes show.

    Args:
        axes: Matplotlib's axes.
        box_yxyx: ymin, xmin, ymax, xmax.
        label: Number of the class, which decides the color; None for white.
        text: Written at the upper left corner.
        **style: As `matplotlib.patches.Rectangle`.
    """
    color = "white" if label is None else COLORS[label % len(COLORS)]
    style = {"linewidth": 1.5, "edgecolor": color, **style}
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    ymin, xmin, ymax, xmax = box_yxyx
    corner, width, height = (xmin * right, ymin * bottom), (xmax - xmin) * right, (ymax - ymin) * bottom
    axes.add_patch(Rectangle(corner, width, height, fill=False, **style))
    if text:
        axes.text(
            *corner,
            text,
            fontsize=SHEET_FONT,
            color="white" if label is not None and _is_dark(color) else "black",
            verticalalignment="bottom" if ymin > 0.06 else "top",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 1},
            clip_on=True,
        )


def _is_dark(color):
    red, green, blue, _ = color
    return 0.3 * red + 0.59 * green + 0.11 * blue < 0.42


def draw_sheet(pixels, draw, title, path):
    """Draws pictures in rows of four.

    Args:
        pixels: Pictures, values from 0 to 255, (n, height, width, 3).
        draw: A function of axes and the number of a picture, which draws what belongs on it.
        title: Title of the sheet.
        path: The PNG file to write.
    """
    rows = -(-len(pixels) // COLUMNS)
    figure, grid = new_figure(rows, COLUMNS, (CELL * COLUMNS, (CELL + 0.1) * rows + 0.5), title)
    figure.set_layout_engine("constrained", h_pad=0.1)  # a title belongs to the picture below it
    for number, axes in enumerate(grid.flat):
        axes.axis("off")
        if number < len(pixels):
            height, width = pixels[number].shape[:2]
            axes.imshow(pixels[number].clip(0, 255).astype("uint8"), extent=(0, width, height, 0))
            axes.set(xlim=(0, width), ylim=(height, 0))
            draw(axes, number)
    save(figure, path, dpi=140)

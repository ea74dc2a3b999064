"""Pictures with boxes, side by side, as a PNG file."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

COLUMNS = 4
COLORS = [matplotlib.colormaps["tab20"](number) for number in range(20)]


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
            fontsize=7,
            color="black",
            verticalalignment="bottom" if ymin > 0.06 else "top",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 1, "alpha": 0.85},
            clip_on=True,
        )


def sheet(pixels, draw, title, path):
    """Draws pictures in rows of four.

    Args:
        pixels: Pictures, values from 0 to 255, (n, height, width, 3).
        draw: A function of axes and the number of a picture, which draws what belongs on it.
        title: Title of the sheet.
        path: The PNG file to write.
    """
    rows = -(-len(pixels) // COLUMNS)
    size = (3 * COLUMNS, 3.1 * rows + 0.5)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=size, layout="constrained", squeeze=False)
    figure.suptitle(title)
    for number, axes in enumerate(grid.flat):
        axes.axis("off")
        if number < len(pixels):
            height, width = pixels[number].shape[:2]
            axes.imshow(pixels[number].clip(0, 255).astype("uint8"), extent=(0, width, height, 0))
            axes.set(xlim=(0, width), ylim=(height, 0))
            draw(axes, number)
    figure.savefig(path, dpi=100)
    plt.close(figure)

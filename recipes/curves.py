"""Loss and metric over the epochs, as a picture."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator


def plot_curves(rows, metric, title, path):
    """Draws a training log.

    Args:
        rows: The rows of `RunDirectory.log`.
        metric: Name of what is drawn beside the loss; a detector has none on its training images.
        title: Title of the picture.
        path: The PNG file to write.
    """
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) <= 30 else ""  # without one, a run of one epoch would not show
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
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
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, loc="upper right")
    figure.savefig(path, dpi=120)
    plt.close(figure)

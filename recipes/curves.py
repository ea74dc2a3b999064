"""Loss and accuracy over the epochs, as a picture."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot_curves(rows, title, path):
    """Draws a training log.

    Args:
        rows: The rows of `RunDirectory.log`.
        title: Title of the picture.
        path: The PNG file to write.
    """
    epochs = [row["epoch"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    for key, label in (("loss", "training"), ("val_loss", "validation")):
        left.plot(epochs, [row[key] for row in rows], marker=".", label=label)
    for key, label in (("accuracy", "training"), ("val_accuracy", "validation")):
        right.plot(epochs, [100 * row[key] for row in rows], marker=".", label=label)
    left.set(xlabel="epoch", ylabel="cross-entropy")
    right.set(xlabel="epoch", ylabel="accuracy / %")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)

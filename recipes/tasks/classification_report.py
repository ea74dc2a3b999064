"""How right and how sure a classifier is on the test pictures: classes, confusion, calibration, mistakes."""

import dataclasses

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from recipes.files import write_csv
from recipes.plots import SHEET_CHARACTERS, SHEET_FONT, draw_sheet, new_figure, save

HEAD = ("class", "images", "recall", "precision")
BINS = 15  # Guo et al.'s
PICTURES = 16
FONT, SMALLEST_FONT = 11, 5  # points
CHARACTER = 0.7  # the width of a wide one, in font sizes
CLASS_CHARACTERS = 24  # that are drawn of a name


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What pictures were taken for.

    Attributes:
        classes: Names of the classes.
        labels: The class of every picture.
        predicted: The class that it was taken for.
        confidence: The probability of that class.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray

    @property
    def is_right(self):
        return self.predicted == self.labels

    @property
    def confusion(self):
        """How many pictures of each class (a row) were taken for each class (a column)."""
        return confusion_matrix(self.labels, self.predicted, labels=range(len(self.classes)))

    @property
    def mistakes(self):
        """Numbers of the pictures that were taken for something else, the surest first."""
        wrong = np.flatnonzero(~self.is_right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    @property
    def bins(self):
        """The pictures in bins of equal width by confidence: their counts, summed confidence, and hits."""
        # The upper edge belongs to a bin, the lower one does not.
        numbers = np.clip(np.ceil(self.confidence * BINS).astype(int) - 1, 0, BINS - 1)
        return [np.bincount(numbers, weights, BINS) for weights in (None, self.confidence, self.is_right)]

    @property
    def calibration_error(self):
        """The expected calibration error: by how much a bin's confidence differs from its share of hits.

        Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3. Bins weigh as many pictures
        as they have, so that their means become sums.
        """
        _, confidence, hits = self.bins
        return np.abs(hits - confidence).sum() / len(self.labels)


def class_rows(predictions):
    """For every class its name, its number of images, and recall and precision as fractions (NaN for 0/0)."""
    precision, recall, _, counts = precision_recall_fscore_support(
        predictions.labels,
        predictions.predicted,
        labels=range(len(predictions.classes)),
        zero_division=np.nan,  # pyright: ignore[reportArgumentType] (a number, says its documentation)
    )
    columns = [np.asarray(values).tolist() for values in (counts, recall, precision)]
    return list(zip(predictions.classes, *columns, strict=True))


def write_confusion(predictions, path):
    """Writes a CSV file: for every class, how many of its pictures were taken for each class."""
    rows = zip(predictions.classes, predictions.confusion.tolist(), strict=True)
    write_csv(path, ("right \\ predicted", *predictions.classes), [(name, *row) for name, row in rows])


def plot_confusion_and_calibration(predictions, title, path):
    """Draws the confusion matrix, and beside it how often predictions are right that are so sure."""
    # In inches: cells have room for a count while they are few, then for a line of text; no picture is huge.
    names = [shortened(name, CLASS_CHARACTERS) for name in predictions.classes]
    side = min(max(3.5, min(0.45 * len(names), 8), 0.115 * len(names)), 24)
    margin = 1 + max(map(len, names)) * CHARACTER * FONT / 72
    figure, ((left, right),) = new_figure(
        columns=2,
        size=(margin + side + 6, margin + side),
        title=title,
        width_ratios=(margin + side + 1, 5),
    )
    figure.set_layout_engine("constrained", w_pad=0.15)
    _draw_confusion(left, predictions, names, 72 * side / len(names), shrink=min(0.8, 5 / side))
    _draw_calibration(right, predictions)
    save(figure, path)


def _draw_confusion(axes, predictions, names, cell, shrink):
    """Draws the confusion matrix with cells of so many points."""
    matrix = predictions.confusion
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    # A few of many pictures are to be seen, too: the color goes by the root. (Matplotlib's layout does not
    # know how large axes of equal aspect become.)
    image = axes.imshow(shares, "Blues", PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, shrink=shrink, label="share of the class's pictures")
    axes.set(xlabel="predicted", ylabel="right")
    axes.grid(False)
    size = min(FONT, 0.75 * cell)
    if size >= SMALLEST_FONT:
        is_wide = max(map(len, names)) * CHARACTER * size > cell
        axes.set_xticks(range(len(names)), names, fontsize=size, rotation=90 if is_wide else 0)
        axes.set_yticks(range(len(names)), names, fontsize=size)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    size = min(FONT, cell / (CHARACTER * len(str(matrix.max())) + 0.3))
    if size >= SMALLEST_FONT:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            color = "white" if shares[row, column] > 0.4 else "black"
            style = {"horizontalalignment": "center", "verticalalignment": "center", "color": color}
            axes.text(column, row, matrix[row, column], fontsize=size, **style)


def _draw_calibration(axes, predictions):
    counts, _, hits = predictions.bins
    edges, filled = np.linspace(0, 1, BINS + 1), counts > 0
    style = {"align": "edge", "color": "tab:blue", "edgecolor": "white", "label": "share that is right"}
    axes.bar(edges[:-1][filled], hits[filled] / counts[filled], 1 / BINS, **style)
    axes.stairs(counts / counts.sum(), edges, color="tab:orange", label="share of all pictures")
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="calibrated")
    axes.set(xlabel="probability of the predicted class", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"expected calibration error {100 * predictions.calibration_error:.1f} %", fontsize=10)
    axes.set_box_aspect(1)
    axes.set_anchor("N")
    # Below the axes, as any bin may be full.
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, fontsize=8)


def mistakes_sheet(predictions, split, data, title, path):
    """Draws the pictures that were taken for something else with most certainty.

    Args:
        predictions: The `Predictions` of all test pictures.
        split: The test pictures.
        data: The recipe's `recipes.settings.Data`.
        title: Title of the picture.
        path: The PNG file to write; it is not written where there is no mistake.
    """
    chosen = predictions.mistakes[:PICTURES]
    if not len(chosen):
        print(f"no test picture was taken for something else: {path} is not written")
        return
    in_order = np.sort(chosen)  # a split selects so
    ((pixels, _),) = split.select(in_order).pixel_batches(data, PICTURES)

    def draw(axes, row):
        number = chosen[row]
        names = [
            predictions.classes[labels[number]] for labels in (predictions.predicted, predictions.labels)
        ]
        sure = f" ({100 * predictions.confidence[number]:.0f} %)"
        lines = [
            f"said {shortened(names[0], SHEET_CHARACTERS - 5 - len(sure))}{sure}",
            f"is {shortened(names[1], SHEET_CHARACTERS - 3)}",
            split.name(number),
        ]
        set_title(axes, lines)

    draw_sheet(np.asarray(pixels)[np.searchsorted(in_order, chosen)], draw, title, path)


def set_title(axes, lines):
    """Writes lines above a picture of a sheet, as much of each as there is room for."""
    lines = [shortened(line, SHEET_CHARACTERS) for line in lines]
    axes.set_title("\n".join(lines), fontsize=SHEET_FONT)


def shortened(text, characters):
    """The text, or as many characters of its end, which tells the names of files apart."""
    return text if len(text) <= characters else f"…{text[1 - characters :]}"

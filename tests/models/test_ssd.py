"""Tests of SSDLite."""

import keras
import numpy as np
import pytest

import sb_keras
from sb_keras import Attention
from sb_keras.detection import ssdlite_anchors
from sb_keras.models import load_backbone

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("networks_of_few_blocks")]


@pytest.fixture(scope="module")
def detector(networks_of_few_blocks):
    return sb_keras.SSDLite(0.35, "sb")


def test_outputs(detector, rng):
    images = rng.normal(size=(2, 300, 300, 3)).astype("float32")
    outputs = detector(images)
    assert {name: output.shape for name, output in outputs.items()} == {
        "classes": (2, 3000, 21),
        "boxes": (2, 3000, 4),
    }
    assert outputs["boxes"].shape[1] == len(ssdlite_anchors())


# Of 160 pixels two maps have one cell, of 640 the last one has four.
@pytest.mark.parametrize(("height", "width"), [(160, 160), (320, 192), (224, 416), (512, 512), (640, 640)])
def test_outputs_have_the_anchors_order(height, width, rng):
    """Row by row, cell by cell, anchor by anchor, from the largest map to the smallest."""
    detector = sb_keras.SSDLite(0.1, classes=3, input_shape=(height, width, 3))
    heads = [detector.get_layer(f"boxes{number}").output for number in range(1, 7)]
    images = rng.normal(size=(1, height, width, 3)).astype("float32")
    outputs, maps = keras.tree.map_structure(
        np.array, keras.Model(detector.input, [detector.output, heads])(images)
    )
    anchors = ssdlite_anchors(detector.input_shape[1:])
    assert outputs["classes"].shape == (1, len(anchors), 4)
    assert outputs["boxes"].shape == (1, len(anchors), 4)
    first = 0
    for each in maps:
        _, rows, columns, _ = each.shape
        for row, column in {(0, 0), (0, columns - 1), (rows - 1, 0), (rows // 2, columns // 2)}:
            index = first + 6 * (row * columns + column)
            np.testing.assert_array_equal(
                outputs["boxes"][0, index : index + 6].ravel(), each[0, row, column]
            )
            center = ((row + 0.5) / rows, (column + 0.5) / columns)
            np.testing.assert_allclose(anchors[index : index + 6, :2], [center] * 6, rtol=2e-7)  # float32
        first += 6 * rows * columns
    assert first == len(anchors)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"a multiple of 32 from 160 to 640\. Received: .*\(300, 320, 3\)"):
        sb_keras.SSDLite(input_shape=(300, 320, 3))


# Parameters by hand from the layers of pytorch-ssd's mb2-ssd-lite behind the backbone. An extra (c → h → f):
# c·h + 2h, 9h + 2h, h·f + 2f. A head on c channels for v values: 9c + 2c of the depthwise convolution (whose
# bias, before a normalization, we leave out), and (c + 1) · 6v.
def extra(channels, hidden, filters):
    return channels * hidden + 2 * hidden + 11 * hidden + hidden * filters + 2 * filters


def heads(channels, last=False):
    return sum((0 if last else 11 * channels) + (channels + 1) * 6 * values for values in (21, 4))


# The tap has six times the channels of the block before it: 96, scaled.
@pytest.mark.parametrize(("width", "expanded"), [(0.35, 6 * 32), (1.0, 6 * 96)])
def test_parameters(width, expanded):
    extras = extra(1280, 256, 512) + extra(512, 128, 256) + extra(256, 128, 256) + extra(256, 64, 64)
    expected = extras + sum(map(heads, (expanded, 1280, 512, 256, 256))) + heads(64, last=True)
    with keras.StatelessScope(initialize_variables=False):  # weights have shapes and are not drawn
        detector = sb_keras.SSDLite(width, "static")
        backbone = sb_keras.MobileNetV2(width_multiplier=width, include_top=False)
    keras.utils.clear_session()  # and never will be
    count = sb_keras.profile(detector).total.parameters - sb_keras.profile(backbone).total.parameters
    assert count == expected


@pytest.mark.parametrize("kind", ["static", "se", "sb"])
def test_attention_is_in_the_backbone_only(kind):
    with keras.StatelessScope(initialize_variables=False):  # weights have shapes and are not drawn
        detector = sb_keras.SSDLite(0.35, kind)
        backbone = sb_keras.MobileNetV2(width_multiplier=0.35, attention=kind, include_top=False)
    keras.utils.clear_session()  # and never will be
    attention = (sb_keras.layers.ShiftBalance, sb_keras.layers.SqueezeExcite)

    def names(model):
        return [layer.name for layer in model.layers if isinstance(layer, attention)]

    assert names(detector) == names(backbone)
    # Eight blocks of three, but for the first, which has no expand convolution.
    assert len(names(detector)) == (0 if kind == "static" else 3 * 8 - 1)


def test_fold(detector, randomize_moderately, rng):
    randomize_moderately(detector)
    images = rng.normal(size=(2, 300, 300, 3)).astype("float32")
    folded = sb_keras.fold(detector)
    expected, actual = detector(images), folded(images)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    for name, values in expected.items():
        # As the backbones': 3e-4 of the outputs, since random statistics multiply the rounding.
        np.testing.assert_allclose(actual[name], values, atol=3e-4 * np.abs(values).max())


def test_weights_of_a_classifier(detector):
    classifier = sb_keras.MobileNetV2((96, 96, 3), 0.35, "sb", classes=7)
    for weight in classifier.weights:
        weight.assign(weight + 0.1)
    before = {weight.path: np.array(weight) for layer in detector.layers[-30:] for weight in layer.weights}
    load_backbone(detector, classifier)
    for name in ("block2_expand", "block7_depthwise_sb", "block8_project_bn", "head"):
        ours, theirs = (model.get_layer(name).get_weights() for model in (detector, classifier))
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other)
    for layer in detector.layers[-30:]:
        for weight in layer.weights:
            np.testing.assert_array_equal(weight, before[weight.path])


# The last three have the same weights as the detector's backbone, or more.
@pytest.mark.parametrize(
    "settings",
    [
        {"width_multiplier": 0.5},
        {"attention": "static"},
        {"attention": "se"},
        {"attention": Attention("sb", gate="sigmoid")},
        {"attention": Attention("sb", placement="norm")},
        {"padding": "torch"},
    ],
    ids=str,
)
def test_weights_of_another_classifier(settings, detector):
    before = [np.array(weight) for weight in detector.weights]
    arguments = {"width_multiplier": 0.35, "attention": "sb", "classes": 7, **settings}
    classifier = sb_keras.MobileNetV2((96, 96, 3), **arguments)
    with pytest.raises(ValueError, match=r"^The classifier is not this detector's backbone, .*layer '.+' of"):
        load_backbone(detector, classifier)
    for weight, expected in zip(detector.weights, before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_more_than_the_detector_takes():
    """A static detector would find all that it has in a classifier with attention."""
    detector, classifier = sb_keras.SSDLite(0.35), sb_keras.MobileNetV2((96, 96, 3), 0.35, "sb", classes=7)
    with pytest.raises(ValueError, match=r"^The classifier is not this detector's backbone, .*_sb' of"):
        load_backbone(detector, classifier)
    with pytest.raises(ValueError, match=r"Received: no such layer$"):
        load_backbone(detector, keras.Sequential([keras.Input((96, 96, 3)), keras.layers.Flatten()]))


@pytest.mark.parametrize("classes", [0, -1, 2.5])
def test_wrong_number_of_classes(classes):
    with pytest.raises(ValueError, match="classes"):
        sb_keras.SSDLite(0.35, classes=classes)

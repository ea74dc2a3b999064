"""Tests of the suppression of covered boxes."""

import numpy as np

from sb_keras.detection import detect, encode, ssdlite_anchors

ANCHORS = ssdlite_anchors()


def outputs(found):
    """Outputs of a network that found boxes: (box, class, logit), each at an anchor of its own."""
    classes, offsets = np.zeros((1, 3000, 4), "float32"), np.zeros((1, 3000, 4), "float32")
    classes[..., 0] = 10.0  # background
    for number, (box, label, logit) in enumerate(found):
        index = 40 * number
        classes[0, index, 1 + label] = logit
        offsets[0, index] = encode(np.array([box], "float32"), ANCHORS[index : index + 1])[0]
    return {"classes": classes, "boxes": offsets}


def test_by_hand():
    boxes = [
        ((0.1, 0.1, 0.5, 0.5), 2, 12.0),
        ((0.1, 0.12, 0.5, 0.52), 2, 11.0),  # covered by the first: 0.38/0.42 of the union
        ((0.1, 0.12, 0.5, 0.52), 0, 11.0),  # another class
        ((0.6, 0.6, 0.9, 0.9), 1, 13.0),
        ((0.6, 0.1, 0.9, 0.3), 1, 0.0),  # below the threshold
    ]
    found = {key: np.array(value) for key, value in detect(outputs(boxes), ANCHORS).items()}
    assert found["count"].tolist() == [3]
    assert found["classes"][0, :3].tolist() == [1, 2, 0]
    expected = [boxes[i][0] for i in (3, 0, 2)]
    np.testing.assert_allclose(found["boxes_yxyx"][0, :3], expected, atol=1e-5)
    # Softmax over background 10, the logit, and two zeros.
    scores = [np.exp(x) / (np.exp(x) + np.exp(10) + 2) for x in (13, 12, 11)]
    np.testing.assert_allclose(found["scores"][0, :3], scores, rtol=1e-4)
    assert not found["scores"][0, 3:].any()


def test_nothing_found():
    assert np.array(detect(outputs([]), ANCHORS)["count"]).tolist() == [0]


def test_boxes_end_at_the_border():
    found = detect(outputs([((-0.2, 0.5, 0.5, 1.4), 0, 12.0)]), ANCHORS)
    np.testing.assert_allclose(np.array(found["boxes_yxyx"])[0, 0], (0, 0.5, 0.5, 1), atol=1e-6)

"""The README's first command, with a tenth of the training, on networks of two blocks."""

import csv

import pytest
from PIL import Image

from sb_keras.models import mobilenet_v2
from tflite import quickstart

pytestmark = pytest.mark.long

FAST = ["--set", "epochs=1", "--set", "steps_per_epoch=2", "--set", "model.width_multiplier=0.1"]


def test_ends_with_a_table_a_plot_and_two_files(tmp_path, monkeypatch, capsys):
    # Compiling all 17 blocks twice would take a minute, and the programs are tested on their own.
    monkeypatch.setattr(mobilenet_v2, "CIFAR_STAGES", mobilenet_v2.CIFAR_STAGES[:2])
    monkeypatch.setattr(mobilenet_v2, "HEAD_FILTERS", 48)
    quickstart.main(["--run-dir", str(tmp_path), *FAST])

    with (tmp_path / "quickstart.csv").open(newline="") as file:
        static, sb = csv.DictReader(file)
    assert (static["network"], sb["network"]) == ("static", "SB")
    for row in (static, sb):
        assert 0 <= float(row["Keras accuracy"]) <= 1
        # 360 test images: one that lies on the border between two classes may fall to the other side.
        assert abs(float(row["Keras accuracy"]) - float(row["TFLite accuracy"])) < 1.5 / 360
        size = (tmp_path / f"{row['network'].lower()}.tflite").stat().st_size
        assert float(row["file size / kB"]) == size / 1000
    assert int(sb["parameters"]) > int(static["parameters"])
    with Image.open(tmp_path / "quickstart.png") as picture:
        assert picture.width > 1000
    assert "TFLite accuracy" in capsys.readouterr().out

    trained = (tmp_path / "sb" / "final.keras").stat().st_mtime_ns
    quickstart.main(["--run-dir", str(tmp_path), *FAST])
    assert (
        tmp_path / "sb" / "final.keras"
    ).stat().st_mtime_ns == trained  # finished runs are not trained again

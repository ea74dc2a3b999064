import pytest

from benchmarks import start


def test_rows_have_medians_and_ratios(capsys):
    def phases(first):
        return {phase: (first if phase == "first_step" else 1.0, 2 * first) for phase in start.PHASES}

    starts = {
        ("sb_keras", "static"): [phases(seconds) for seconds in (2.0, 4.0, 3.0)],
        ("stock Keras", "static"): [phases(seconds) for seconds in (6.0, 5.0, 7.0)],
        ("sb_keras", "sb"): [phases(seconds) for seconds in (9.0, 9.0, 8.0)],
    }
    rows = [dict(zip(start.HEAD, row, strict=True)) for row in start._rows(starts, "sgd")]
    assert [row["first_step_cpu_s"] for row in rows] == [3.0, 6.0, 9.0]
    assert [row["first_step_wall_s"] for row in rows] == [6.0, 12.0, 18.0]
    assert (rows[0]["first_step_cpu_s_min"], rows[0]["first_step_cpu_s_max"]) == (2.0, 4.0)
    assert [row["times_ours"] for row in rows] == pytest.approx([1.0, 2.0, 1.0])
    assert [row["times_static"] for row in rows] == pytest.approx([1.0, 2.0, 3.0])


def test_a_start_is_measured(monkeypatch, tmp_path, capsys):
    """From the command line to the files, with a network that is one number."""
    monkeypatch.setattr(start, "installed", lambda: ["sb_keras", "stock Keras"])
    monkeypatch.setattr(start, "start", lambda *_: dict.fromkeys(start.PHASES, (1.0, 2.0)))
    table, figure = tmp_path / "start.csv", tmp_path / "start.png"
    start.main(["--kinds", "sb", "--rounds", "2", "--csv", str(table), "--plot", str(figure)])
    assert len(table.read_text().splitlines()) == 1 + 4
    assert figure.stat().st_size > 1000
    assert "first_step_cpu_s" in capsys.readouterr().out

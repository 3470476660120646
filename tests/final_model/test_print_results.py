"""The table at the end of ./pipeline.sh."""

import json

from final_model_stage import print_results


def test_table_has_both_protocols_interval_and_oracle(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    figures = {
        "images": 7,
        "mIoU_0": 0.5,
        "mIoU_1": 0.25,
        "interval": {"mIoU_0": {"low": 0.4, "high": 0.6}, "mIoU_1": {"low": 0.2, "high": 0.3}},
        "per_image": {"mIoU_0": 0.55, "mIoU_1": 0.35},
        "oracle": {"level_0": {"mIoU_1": 0.75}},
    }
    print_results.FINAL_METRICS.parent.mkdir(parents=True)
    print_results.FINAL_METRICS.write_text(json.dumps(figures))
    print_results.PICTURES.mkdir()
    (print_results.PICTURES / "examples.png").touch()
    print_results.main()
    header, first, second = (line.split() for line in capsys.readouterr().out.splitlines()[1:4])
    assert header[:2] == ["7", "images"]
    assert first == ["mIoU_0", "0.500", "[0.400,", "0.600]", "0.550", "\u2013"]
    assert second == ["mIoU_1", "0.250", "[0.200,", "0.300]", "0.350", "0.750"]
    print_results.main()
    assert str(tmp_path / "results/pictures/examples.png") in capsys.readouterr().out
    print_results.REPORT.touch()
    print_results.main()
    assert capsys.readouterr().out.splitlines()[-1].strip() == str(tmp_path / "results/report.html")


def test_nothing_is_printed_before_there_are_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    print_results.main()
    assert capsys.readouterr().out == ""


def test_a_figure_that_is_not_there_is_a_dash():
    nothing = {"low": None, "high": None}
    figures = {"images": 1, "mIoU_0": None, "interval": {"mIoU_0": nothing}, "oracle": {}}
    line = print_results.table(figures | {"per_image": {"mIoU_0": float("nan")}}).splitlines()[1]
    assert line.split() == ["mIoU_0", "\u2013", "[\u2013,", "\u2013]", "\u2013", "\u2013"]

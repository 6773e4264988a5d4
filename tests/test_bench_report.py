"""What the benchmark reports, on numbers made up by hand."""

import math

import pytest

from jaxconv.__main__ import main
from jaxconv._bench import figures
from jaxconv._bench.results import Results
from jaxconv._bench.sheets import milliseconds


def row(name, direction="forward", **seconds):
    entries = {
        name: {"median": value, "quartiles": [0.9 * value, 1.1 * value], "samples": 3}
        for name, value in seconds.items()
    }
    identity = {"suite": "s", "batch": None, "layer": {"occurs": 3}, "dtype": "float32", "layout": "NHWC"}
    figures = {"macs": 10**9, "matmul": 2e12, "elementwise": 5e-4}
    return {**identity, "name": name, "direction": direction, **figures, "backends": entries}


ROWS = [
    row("won", lax=4e-3, torch=1e-3, im2col=2e-3, naive=3e-3, winograd4=0.5e-3),
    row("lost", lax=1e-3, im2col=2e-3),
    row("not ours", "input-grad", lax=1e-3),
]


def test_ratios_and_means():
    lines = figures.compare(ROWS, ("lax", "torch"))
    assert [line.best for line in lines] == ["im2col", "im2col", None]
    assert [line.ratios for line in lines] == [{"lax": 2, "torch": 0.5}, {"lax": 0.5}, {}]
    assert figures.geometric_mean([2, 0.5]) == 1 and figures.geometric_mean([2, 8, 4]) == pytest.approx(4)
    assert math.isnan(figures.geometric_mean([]))
    assert [line.row["name"] for line in figures.losses(lines, "lax")] == ["not ours", "lost"]
    assert [line.row["name"] for line in figures.losses(lines, "torch")] == ["won"]
    assert figures.of_matmul(ROWS[0], "im2col") == 0.5 and figures.of_elementwise(ROWS[0], "im2col") == 0.25
    older = {name: value for name, value in ROWS[0].items() if name != "elementwise"}
    assert figures.of_elementwise(older, "im2col") is None
    assert figures.compare(ROWS, ("lax",), approximate=True)[0] == (ROWS[0], "winograd4", {"lax": 8})


def test_a_wrong_result_is_not_the_best():
    wrong = row("wrong", lax=4e-3, im2col=1e-3, naive=2e-3)
    wrong["backends"]["im2col"]["wrong"] = True
    assert figures.compare([wrong], ["lax"])[0].best == "naive"
    assert figures.failures(wrong) == {"im2col": "computed something else"}


def test_report(tmp_path, capsys):
    path, report = tmp_path / "out.json", tmp_path / "report.md"
    results = Results(path, {"environment": {"commit": "abc", "torch": None}})
    for each in ROWS:
        results.put(each)
    assert main(["bench", "--report-only", "--out", str(path), "--markdown", str(report)]) == 0
    text = report.read_text()
    assert "Measured with commit abc." in text
    # Where nothing of ours beats lax, "xla" is the best of ours and takes as long.
    assert "| forward | 1.41 | 0 of 2 | 1.00 lost | 0.50 | 1 of 1 | 0.50 won |" in text
    assert "| input-grad | 1.00 | 0 of 1 | 1.00 not ours | - | 0 of 0 | - |" in text
    assert "| all | 1.26 | 0 of 3 | 1.00 forward of lost | 0.50 | 1 of 1 | 0.50 forward of won |" in text
    assert "| won | forward | im2col | 2.00 ±10% | 4.00 ±10% | 1.00 ±10% | 2.00 | 0.50 | 50% | 25% | - | - |" in text
    assert "| forward | 1 of 2 | 6.00 | 12.0 | 3.00 |" in text  # three of "won", which alone all have times for
    assert "| lost | forward | xla | 1.00 ±10% | 1.00 ±10% | - | 1.00 | - | 100% | 50% | - | - |" in text
    assert "Slower than lax in 0 of 3." in text
    assert "Matrix products meanwhile: 2000 to 2000 Gflop/s." in text
    printed = capsys.readouterr().out
    assert "1.00 lost" in printed and "Slower than torch in 1 of 1: forward of won 0.50." in printed


@pytest.mark.parametrize(
    "against, speeds, beside",
    [
        ((), {"won": 2.0, "lost": 1.0, "not ours": 1.0}, "PyTorch"),
        (("lax",), {"won": 2.0, "lost": 1.0, "not ours": 1.0}, None),
        (("torch",), {"won": 0.5}, None),
        (("torch", "lax", "torch"), {"won": 0.5}, "lax"),
    ],
)
def test_charts_are_of_what_is_compared_with(against, speeds, beside, tmp_path, monkeypatch):
    """The first that is named is what bars are relative to, the second is drawn beside them."""
    pytest.importorskip("matplotlib")
    from jaxconv._bench import charts

    drawn, real = [], charts._bars
    monkeypatch.setattr(charts, "_bars", lambda *arguments: drawn.append(real(*arguments)) or drawn[-1])
    Results(tmp_path / "out.json", {"settings": {}}, ROWS).write()
    options = [option for other in against for option in ("--against", other)]
    folder = tmp_path / "charts"
    assert main(["bench", "--report-only", "--out", str(tmp_path / "out.json"), *options, "--charts", str(folder)]) == 0
    found, first = {}, "PyTorch" if against[:1] == ("torch",) else "lax"
    for figure in drawn:
        [axis] = figure.axes
        assert axis.get_xlabel() == f"speed of our best algorithm relative to {first}"
        legend = axis.get_legend()
        assert [each.get_text() for each in legend.get_texts()] == [beside] if beside else legend is None
        names = [each.get_text() for each in axis.get_yticklabels()][::-1]
        words = [each.get_text().split() for each in axis.texts][::-1]
        found |= {name: float(word[-1]) for name, word in zip(names, words, strict=True) if word[0] != "no"}
    assert found == speeds and len([*folder.iterdir()]) == len(drawn)


@pytest.mark.parametrize(
    "seconds, text", [(0.00012345, "0.12"), (0.0012345, "1.23"), (0.012345, "12.3"), (0.12345, "123"), (1.2345, "1234")]
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def test_the_best_may_be_one_of_larger_error_where_that_is_asked_for(tmp_path, capsys):
    path = tmp_path / "out.json"
    Results(path, {"settings": {}}, ROWS[:1]).write()
    for options, there in (([], False), (["--all-algorithms"], True)):
        assert main(["bench", "--report-only", "--out", str(path), *options]) == 0
        assert ("winograd4" in capsys.readouterr().out) == there


def test_a_report_of_a_batch_has_no_other(tmp_path, capsys):
    path = tmp_path / "out.json"
    rows = [{**ROWS[0], "batch": batch, "name": f"layer{batch}"} for batch in (1, 8)]
    Results(path, {"settings": {}}, rows).write()
    assert main(["bench", "--report-only", "--out", str(path), "--batch", "8"]) == 0
    out = capsys.readouterr().out
    assert "layer8" in out and "layer1" not in out

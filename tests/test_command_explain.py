"""`python -m jaxconv explain`: what autodiff makes of a convolution in words, as a table, as JSON and as a page."""

import json
import re
from functools import partial

import jax
import pytest
from commands import OTHER, TEXT, in_training, operands, plan_of, refused, run

import jaxconv
from jaxconv import _geometry_json
from jaxconv._command.language import read
from jaxconv._machine import conditions
from jaxconv._parameters import to_params

LAYOUTS = ["NHWC,HWOI,NHWC", "NHWC,OHWI,NHWC", "CHWN,HWIO,NHWC"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_explain_knows_the_direction_in_any_layout(layout, capsys):
    """It was asked for: the layout, from which programs are judged, says something else."""
    numbers = [{**dict(zip("NHWCIO", (4, 8, 8, 4, 4, 4), strict=True)), "H": size, "W": size} for size in (8, 3)]
    lhs, rhs = ("x".join(str(n[axis]) for axis in spec) for n, spec in zip(numbers, layout.split(","), strict=False))
    text = f"conv {lhs} {rhs} layout={layout}"
    roles = ["forward", "input gradient", "weight gradient"]
    assert [row["role"] for row in json.loads(run(capsys, "explain", text, "--json")[1])] == roles
    out = run(capsys, "explain", text, "--details")[1]
    assert all(re.search(rf"│ {number} │ {role} +│", out) for number, role in enumerate(roles, 1))
    assert all(f"\n{number} {role} " in out for number, role in enumerate(roles, 1))


@pytest.mark.parametrize("text", [TEXT, "conv 2x4x9 6x2x3 groups=2 layout=NCHW pad=1:0 stride=2 dtype=bfloat16"])
def test_explain_is_of_what_autodiff_makes(text, capsys):
    code, out, err = run(capsys, "explain", text, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "") and [row["direction"] for row in rows] == ["forward", "input-grad", "weight-grad"]
    assert {row["role"]: read(row["problem"]) for row in rows} == in_training(text)
    for row in rows:
        geometry = read(row["problem"])
        [expected] = jaxconv.explain(
            partial(jax.lax.conv_general_dilated, **to_params(geometry)), *operands(geometry)
        ).rows
        assert [row[name] for name in ("algorithm", "rejected", "predicted", "flops", "seconds")] == [
            *(expected.algorithm, expected.rejected, expected.predicted, expected.flops, expected.seconds)
        ]
        assert _geometry_json.from_json(row["geometry"]) == geometry


def test_explain_prints_a_table(capsys):
    code, out, _ = run(capsys, "explain", TEXT, OTHER, "--direction", "forward", "--details")
    rows = json.loads(run(capsys, "explain", TEXT, OTHER, "--direction", "forward", "--json")[1])
    assert code == 0 and len(rows) == 2 and "\x1b" not in out  # no colours where there is no terminal
    for number, row in enumerate(rows, 1):
        words = read(row["problem"]).describe()
        assert re.search(rf"│ {number} │ forward │ {words} +│ {row['algorithm']} ", out)
        assert f"\n{number} forward {words}: {row['algorithm']}, {row['why']}\n" in out
        assert all(f"\n    {name}: {why}\n" in f"{out}\n" for name, why in row["rejected"].items())


def test_explain_layers(capsys):
    """With their names, as often as the network has them."""
    arguments = ["explain", "--suite", "resnet50", "--layer", "layer1.1", "--direction", "forward"]
    rows = json.loads(run(capsys, *arguments, "--json")[1])
    named = {row["layer"]: (row["problem"], row["times"]) for row in rows}
    assert named == {"layer1.1 conv1 1x1 256->64 56": ("conv 8x56x56x256 1x1x256x64", 2)}
    assert "forward of layer1.1 conv1" in run(capsys, *arguments)[1]
    assert (
        run(capsys, "explain", "resnet50/layer1.1", *arguments[-2:], "--json")[1] == json.dumps(rows, indent=1) + "\n"
    )


def test_explain_goes_by_what_it_is_told(capsys):
    def rejected(*options):
        return json.loads(run(capsys, "explain", TEXT, *options, "--json")[1])[0]["rejected"]

    assert "'default' allows" in rejected()["winograd4"] and "allows" not in rejected("--accuracy", "fast")["winograd4"]
    assert "may take 7" in rejected("--max-workspace-bytes", "7")["im2col"]


def test_explain_whole_numbers(capsys):
    rows = json.loads(run(capsys, "explain", f"{TEXT} dtype=int8", "--json")[1])
    assert [row["direction"] for row in rows] == ["forward"]


def test_explain_double_precision(capsys):
    """Whether or not 64-bit types are on."""
    with jax.enable_x64(False):
        rows = json.loads(run(capsys, "explain", f"{TEXT} dtype=float64", "--json")[1])
        [wide] = json.loads(run(capsys, "explain", f"{TEXT} dtype=int8 preferred_element_type=int64", "--json")[1])
    assert {row["geometry"]["dtype"] for row in rows} == {"float64"} and len(rows) == 3
    assert wide["geometry"]["preferred_element_type"] == "int64"


def test_explain_writes_a_page(capsys, tmp_path):
    page = tmp_path / "new" / "page.html"
    assert run(capsys, "explain", TEXT, "--html", page)[0] == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>") and "<td>2x8x8 4-&gt;4 3x3</td>" in text and text.count("<tr>") == 5


def test_explain_by_a_plan(capsys, tmp_path):
    path = tmp_path / "plan.json"
    plan_of(TEXT).save(path)
    code, out, err = run(capsys, "explain", TEXT, "--plan", path, "--json")
    row, *rest = json.loads(out)
    assert (code, err) == (0, "") and (row["algorithm"], row["why"], row["seconds"]) == ("im2col", "plan", 0.5)
    assert len(rest) == 2 and all(row["why"] != "plan" for row in rest)
    path.write_text("{")
    for place, said in ((path, f"{path} has no plan in it"), (tmp_path, "[Errno 21] Is a directory")):
        said = f"jaxconv explain: this plan cannot be used: {said}"
        assert refused(capsys, "explain", TEXT, "--plan", place).startswith(said)


def test_explain_by_a_plan_of_elsewhere_warns(capsys, tmp_path):
    path = tmp_path / "plan.json"
    plan_of(TEXT, jax="0.1").save(path)
    code, out, err = run(capsys, "explain", TEXT, "--plan", path, "--json")
    assert code == 0 and json.loads(out)[0]["why"] != "plan"
    assert err == (
        "jaxconv explain: this plan is not used, it was made under other conditions: "
        f"jax '0.1', not '{conditions()['jax']}'\n"
    )

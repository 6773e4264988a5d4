"""The commands, from what is typed to what is printed, written and returned."""

import errno
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import jax
import pytest
from test_bench_report import row as row_of_times

import jaxconv
import jaxconv.testing
from jaxconv import __main__ as entry
from jaxconv import _autotune, _geometry_json
from jaxconv._bench.environment import environment
from jaxconv._bench.results import Results
from jaxconv._collect import convolutions
from jaxconv._command.language import read
from jaxconv._default_plan import default_plan_path
from jaxconv._demo import digits, photograph, race
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of, to_params
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned
from jaxconv.testing import CHECKS, Problem, problems
from jaxconv.testing import check as real_check

TEXT = "conv 2x8x8x4 3x3x4x4 pad=SAME"
OTHER = "conv 2x8x8x4 3x3x4x4 stride=2"


def run(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    if arguments[:1] == ("tune",):
        pytest.importorskip("filelock")
    try:
        code = entry.main(list(map(str, arguments)))
    except SystemExit as stopped:
        assert isinstance(stopped.code, int)
        code = stopped.code
    return code, *capsys.readouterr()


def refused(capsys, *arguments):
    """What is said of wrong input: in one line, and nothing else."""
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
    return err


def operands(geometry):
    return [jax.ShapeDtypeStruct(layout.shape, geometry.dtype) for layout in (geometry.lhs_layout, geometry.rhs_layout)]


def in_training(text):
    """What autodiff makes of the convolution: the geometries in a program that has its value and both gradients."""
    g = read(text)

    def step(lhs, rhs):
        def loss(lhs, rhs):
            return (jax.lax.conv_general_dilated(lhs, rhs, **to_params(g)) ** 2).sum()

        return jax.grad(loss, (0, 1))(lhs, rhs)

    return {each.role: each.geometry for each in convolutions(step, *operands(g))}


# --- all commands ---------------------------------------------------------------------------------------------------


def test_without_a_command_it_helps(capsys):
    code, out, err = run(capsys)
    assert (code, out) == (2, "") and all(f"    {name} " in err for name in entry.COMMANDS)


def test_version(capsys, monkeypatch):
    assert run(capsys, "--version")[:2] == (0, f"jaxconv {entry.version('jaxconv') or '(not installed)'}\n")
    monkeypatch.setattr(entry, "version", lambda package: None)
    assert run(capsys, "--version")[:2] == (0, "jaxconv (not installed)\n")


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_has_help(name, capsys):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0 and out.startswith(f"usage: jaxconv {name} ")


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_what_is_missing_is_said(name, monkeypatch, capsys):
    needs = entry.COMMANDS[name].needs
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(entry.COMMANDS, name, entry.COMMANDS[name]._replace(run=lambda options: 0))
    required = {"explain": [TEXT], "tune": [TEXT], "check": ["a:b"]}.get(name, [])
    if needs:
        said = f"jaxconv {name}: this needs {', '.join(needs)}: pip install 'jaxconv[cli]'\n"
        assert refused(capsys, name, *required) == said
    else:
        assert run(capsys, name, *required)[0] == 0


def test_the_extra_brings_what_they_need():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["jaxconv"] == "jaxconv.__main__:main"
    extras = project["optional-dependencies"]
    brought = {"scikit-learn" if need == "sklearn" else need for one in entry.COMMANDS.values() for need in one.needs}
    assert brought <= {*extras["cli"], *extras["demo"], *extras["tools"]} and "jaxconv[demo,tools]" in extras["cli"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["magic"], "jaxconv: argument COMMAND: invalid choice: 'magic'"),
        (["explain"], "jaxconv explain: no problem is given; a convolution is 'conv LHS RHS key=value ...'"),
        (["tune"], "jaxconv tune: no problem is given"),
        (["explain", "conv 1x2x3x4 1x1x4x2 stride=no"], "jaxconv explain: 'stride=no' in"),
        (["tune", "core/AlexNet"], "jaxconv tune: 'core/AlexNet': no layer of core has"),
        (["explain", "--suite", "lenet"], "jaxconv explain: 'lenet/' is neither conv nor a suite"),
        (["explain", TEXT, "--layer", "3b"], "jaxconv explain: --layer is of no --suite"),
        (["explain", TEXT, "--direction", "backward"], "jaxconv explain: argument --direction: invalid choice"),
        (["explain", TEXT, "--accuracy", "good"], "argument --accuracy: invalid choice: 'good'"),
        (["explain", TEXT, "--max-workspace-bytes", "-1"], "must be an integer of 0 or more, got '-1'"),
        (["explain", TEXT, "--max-workspace-bytes", "16M"], "must be an integer of 0 or more, got '16M'"),
        (["explain", f"{TEXT} dtype=int8", "--direction", "input-grad"], "int8 has no gradients, and so no input-grad"),
        (["explain", TEXT, "--plan", "/nowhere/plan.json"], "no such plan: "),
        (["explain", TEXT, "--plan", "plan.json", "--default"], "not allowed with argument --plan"),
        (["explain", TEXT, "--html", "/dev/null/page.html"], "--html: [Errno"),
        (["tune", TEXT, "--out", "/dev/null/plan.json"], "/dev/null/plan.json cannot be added to"),
        (["tune", TEXT, "--seconds", "soon"], "argument --seconds: must be a finite number of 0 or more, got 'soon'"),
        (["tune", TEXT, "--seconds", "-1"], "argument --seconds: must be a finite number of 0 or more, got '-1'"),
        (["tune", TEXT, "--seconds", "nan"], "argument --seconds: must be a finite number of 0 or more, got 'nan'"),
        (["check"], "jaxconv check: the following arguments are required: MODULE:FUNCTION"),
        (["check", "function"], "'function' must be a module and a function of it, as in package.module:function"),
        (["check", "mine.py:function"], "'mine.py:function' must be a module and a function of it"),
        (["check", "no_such.module:function"], "there is no module 'no_such', neither here nor installed"),
        (["check", "json.no_such:function"], "there is no module 'json.no_such', neither here nor installed"),
        (["check", "json:no_such"], "'json:no_such': module 'json' has no attribute 'no_such'"),
        (["check", "json:__name__"], "'json:__name__' cannot be called, it is str"),
        (["check", "json:dumps", "--checks", "value,speed"], "there is no 'speed'; there are value, jit, vmap, jvp"),
        (["check", "json:dumps", "--examples", "0"], "must be a positive integer, got '0'"),
        (["check", "json:dumps", "--examples", "x"], "argument --examples: must be a positive integer, got 'x'"),
        (["check", "json:dumps", "--factor", "-1"], "--factor: must be a finite number of 0 or more, got '-1'"),
        (["check", "json:dumps", "--factor", "nan"], "--factor: must be a finite number of 0 or more, got 'nan'"),
        (["check", "json:dumps", "--ndim", "4"], "argument --ndim: invalid choice: 4"),
        (["check", "json:dumps", "--dtype", "real"], "--dtype: 'real' is not among those that are tried, float32"),
        (["check", "json:dumps", "--layout", "NWHC"], "--layout: 'NWHC' must be NHWC (channels last)"),
        (["check", "json:dumps", "--layout", "NWC", "--layout", "NHWC"], "--layout: all must be of as many axes"),
        (["check", "json:dumps", "--taps", "3,0"], "must be positive integers with commas between, got '3,0'"),
    ],
)  # fmt: skip
def test_wrong_input_is_named_in_a_line(arguments, said, capsys):
    assert said in refused(capsys, *arguments)


def test_interrupted_anywhere(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setitem(entry.COMMANDS, "env", entry.COMMANDS["env"]._replace(run=interrupted))
    assert run(capsys, "env") == (130, "", "jaxconv env: interrupted\n")


ASKED = {"explain": [TEXT], "tune": [TEXT], "check": ["json:dumps"]}


@pytest.mark.parametrize("name", sorted({*entry.COMMANDS} - {"bench", "env"}))
def test_without_a_device_it_is_said_in_a_line(name, monkeypatch, capsys, tmp_path):
    """As `bench` does, which has other processes look for it; and `env` is there to be asked about that."""

    def no_devices(*_):
        raise RuntimeError("no backend\nhere")

    monkeypatch.setattr(jax, "devices", no_devices)
    monkeypatch.chdir(tmp_path)
    said = f"jaxconv {name}: JAX finds no device: no backend here\n"
    assert refused(capsys, name, *ASKED.get(name, [])) == said and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("platform", ["cuda", "nowhere"])
@pytest.mark.parametrize("name", ["explain", "bench", "env"])
def test_what_is_said_of_a_platform_that_is_not_here(name, platform):
    """JAX has no words for one that it knows."""
    if platform == "cuda" and jax.default_backend() != "cpu":
        pytest.skip("it may be here")
    command = [sys.executable, "-m", "jaxconv", name, *ASKED.get(name, [])]
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if name == "env":
        assert done.returncode == 0 and "Traceback" not in done.stderr
        assert re.search(f"^device +.*'{platform}'", done.stdout, re.M)
        assert re.search(f"^plan +.*'{platform}'", done.stdout, re.M)
    else:
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert last.startswith(f"jaxconv {name}: JAX finds no device: ") and f"'{platform}'" in last


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setitem(entry.COMMANDS, "env", entry.COMMANDS["env"]._replace(run=lambda options: {}["nothing"]))
    with pytest.raises(KeyError):
        entry.main(["env"])


@pytest.mark.parametrize("arguments", [["explain", TEXT], ["explain", TEXT, "--json"], ["env"]], ids=" ".join)
def test_whoever_reads_may_stop_reading(arguments):
    """As `head` does; of little output, Python notices when it flushes stdout."""
    command = [sys.executable, "-m", "jaxconv", *arguments]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 1)


# --- explain --------------------------------------------------------------------------------------------------------


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


def test_explain_layers(capsys, monkeypatch):
    """With their names, as often as the network has them."""
    arguments = ["explain", "--suite", "resnet50", "--layer", "layer1.1", "--direction", "forward"]
    rows = json.loads(run(capsys, *arguments, "--json")[1])
    named = {row["layer"]: (row["problem"], row["times"]) for row in rows}
    assert named == {"layer1.1 conv1 1x1 256->64 56": ("conv 8x56x56x256 1x1x256x64", 2)}
    assert "forward of layer1.1 conv1" in run(capsys, *arguments)[1]
    assert (
        run(capsys, "explain", "resnet50/layer1.1", *arguments[-2:], "--json")[1] == json.dumps(rows, indent=1) + "\n"
    )


def test_explain_goes_by_what_it_is_told(capsys, tmp_path):
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


def plan_of(text, **made):
    return Plan({**conditions(), **made}, {read(text): Tuned("im2col", {"im2col": 0.5, "xla": 0.75}, {})})


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


# --- tune -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch):
    """What was measured, by a clock that is right at once."""
    geometries = []

    def tune(geometry, settings, *_):
        geometries.append((geometry, settings))
        return Tuned("kn2row", {"xla": 3e-3, "kn2row": 2e-3}, {"xla": 0.5, "kn2row": 0.5})

    monkeypatch.setattr(_autotune, "tune", tune)
    return geometries


def test_tune_measures(capsys, tmp_path):
    """The plan has every convolution of a training step, and it is used there."""
    path = tmp_path / "new" / "plan.json"
    code, out, err = run(capsys, "tune", TEXT, "--out", path, "--json")
    content = json.loads(out)
    assert (code, err) == (0, "") and (content["measured"], content["before"]) == (3, 0)
    plan = Plan.load(path)
    assert {read(row["problem"]) for row in content["convolutions"]} == {*plan.convolutions}
    assert {*plan.convolutions} == {*in_training(TEXT).values()} and plan.conditions == conditions()
    for row in content["convolutions"]:
        tuned = plan.convolutions[read(row["problem"])]
        assert row["algorithm"] == tuned.algorithm == min(tuned.seconds, key=tuned.seconds.__getitem__)
        assert row["seconds"] == tuned.seconds and {"xla", "im2col"} <= set(tuned.seconds)


def test_tune_says_what_was_won(measured, capsys, tmp_path):
    """A layer that the network has twice is there once, and counts twice."""
    path = tmp_path / "plan.json"
    code, out, err = run(capsys, "tune", TEXT, "resnet50/layer1.1", "--direction", "forward", "--out", path)
    assert (code, err) == (0, "") and "\x1b" not in out
    for line in ("forward │ 2x8x8 4->4 3x3", "forward of layer1.1 conv1 1x1 256->64 56 │ 8x56x56 256->64 1x1"):
        assert re.search(rf"│ {line} │ kn2row │ 2.00 │ 3.00 │ 1.50 │", re.sub(" +│ +", " │ ", out))
    assert re.search(r"│ all +│ +│ +│ 6.00 │ +9.00 │ +1.50 │", out)
    assert [geometry.batch for geometry, _ in measured] == [8, 2]  # what takes longest first
    assert out.endswith(f"{path}: 2 measured now, 0 there before, 2 convolutions in all\n")


def test_tune_adds_to_what_is_there(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    old = plan_of(TEXT)
    old.save(path)
    code, out, _ = run(capsys, "tune", TEXT, OTHER, "--direction", "forward", "--out", path, "--json")
    content, plan = json.loads(out), Plan.load(path)
    assert [geometry for geometry, _ in measured] == [read(OTHER)] and (content["measured"], content["before"]) == (
        1,
        1,
    )
    assert [row["algorithm"] for row in content["convolutions"]] == ["im2col", "kn2row"]
    assert plan.convolutions == {**old.convolutions, read(OTHER): plan.convolutions[read(OTHER)]}
    run(capsys, "tune", TEXT, "--direction", "forward", "--out", path, "--again")
    assert measured[-1][0] == read(TEXT) and Plan.load(path).algorithm(read(TEXT)) == "kn2row"
    assert len(Plan.load(path).convolutions) == 2


def test_tune_measures_each_convolution_once(measured, capsys, tmp_path):
    run(capsys, "tune", TEXT, f"{TEXT} stride=1", "--direction", "all", "--out", tmp_path / "plan.json")
    assert len(measured) == 3


def test_tune_goes_by_what_it_is_told(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    options = ["--accuracy", "fast", "--max-workspace-bytes", "1000"]
    run(capsys, "tune", TEXT, "--direction", "weight-grad", "--out", path, *options)
    [(geometry, settings)] = measured
    assert geometry == in_training(TEXT)["weight gradient"]
    assert (settings.accuracy, settings.max_workspace_bytes) == ("fast", 1000)
    plan = Plan.load(path)
    assert (plan.accuracy, plan.max_workspace_bytes) == ("fast", 1000)


@pytest.mark.parametrize(
    "text, said, options",
    [
        (json.dumps(plan_of(TEXT, jax="0.1").to_json()), "made under different conditions: jax '0.1', not", []),
        (
            json.dumps({**plan_of(TEXT).to_json(), "accuracy": "fast"}),
            "conditions: accuracy 'fast', not 'strict'",
            ["--accuracy", "strict"],
        ),
        ("{", "has no plan in it", []),
    ],
    ids=["another jax", "another accuracy", "damaged"],
)
def test_tune_leaves_other_files_alone(text, said, options, measured, capsys, tmp_path):
    """And says so before it has measured anything."""
    path = tmp_path / "plan.json"
    path.write_text(text)
    err = refused(capsys, "tune", TEXT, "--out", path, *options)
    assert f"{path} cannot be added to, choose another --out: " in err and said in err
    assert path.read_text() == text and not measured


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="of a folder in which nobody can make a file")
def test_tune_does_not_wait_for_a_lock_that_cannot_be(measured, monkeypatch, capsys):
    pytest.importorskip("filelock")
    monkeypatch.setattr("filelock.FileLock", lambda path: pytest.fail(f"waits for {path} for ever"))
    said = "jaxconv tune: /proc/plan.json cannot be added to, choose another --out: [Errno"
    assert refused(capsys, "tune", TEXT, "--out", "/proc/plan.json").startswith(said) and not measured


def test_tune_interrupted(measured, monkeypatch, capsys, tmp_path):
    """What was measured stays, and the same command goes on."""
    path, tune = tmp_path / "plan.json", _autotune.tune

    def interrupted(geometry, settings, *_):
        if len(measured) == 2:
            raise KeyboardInterrupt
        return tune(geometry, settings)

    monkeypatch.setattr(_autotune, "tune", interrupted)
    code, out, err = run(capsys, "tune", TEXT, "--out", path)
    assert code == 130 and len(Plan.load(path).convolutions) == 2 and "2 measured now" in out
    assert err.startswith("jaxconv tune: interrupted, 1 of 3 convolutions are left to the cost model; the same command")
    monkeypatch.setattr(_autotune, "tune", tune)
    code, out, err = run(capsys, "tune", TEXT, "--out", path)
    assert (code, err) == (0, "") and "1 measured now, 2 there before, 3 convolutions in all" in out


def test_what_an_empty_plan_was_to_be_for_does_not_matter(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    run(capsys, "tune", TEXT, "--seconds", "0", "--accuracy", "fast", "--out", path)
    code, _, err = run(capsys, "tune", TEXT, "--accuracy", "strict", "--out", path)
    assert (code, err) == (0, "") and Plan.load(path).accuracy == "strict"


def test_tune_keeps_each_as_soon_as_it_is_measured(measured, monkeypatch, capsys, tmp_path):
    path, tune, there = tmp_path / "plan.json", _autotune.tune, []

    def counted(geometry, *more):
        there.append(len(Plan.load(path).convolutions))
        return tune(geometry, *more)

    monkeypatch.setattr(_autotune, "tune", counted)
    run(capsys, "tune", TEXT, "--out", path)
    assert there == [0, 1, 2]


def test_tune_says_where_nothing_can_be_kept_any_longer(measured, monkeypatch, capsys, tmp_path):
    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    path, tune = tmp_path / "plan.json", _autotune.tune

    def last(geometry, *more):
        if measured:
            monkeypatch.setattr(Plan, "save", full)
        return tune(geometry, *more)

    monkeypatch.setattr(_autotune, "tune", last)
    err = refused(capsys, "tune", TEXT, "--out", path)
    assert f"{path} can be added to no longer: [Errno 28] No space left on device; it has what was" in err
    assert len(Plan.load(path).convolutions) == 1


@pytest.mark.parametrize("name", ["poetry.json", "poetry.lock"])
def test_tune_leaves_files_with_the_names_of_locks_alone(name, measured, capsys, tmp_path):
    other = tmp_path / "poetry.lock"
    plan_of(OTHER).save(other)
    text = other.read_text()
    assert run(capsys, "tune", TEXT, "--out", tmp_path / name)[0] == 0
    assert name == other.name or other.read_text() == text
    assert read(OTHER) in Plan.load(other).convolutions


def test_tune_ends_when_its_time_is_over(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    code, out, err = run(capsys, "tune", TEXT, "--seconds", "0", "--out", path)
    assert (code, measured) == (0, []) and err.startswith("jaxconv tune: 0 seconds are over, 3 of 3 convolutions are")
    assert out == f"{path}: 0 measured now, 0 there before, 0 convolutions in all\n"


def test_tune_says_what_there_is_nothing_to_measure_of(measured, capsys, tmp_path):
    path, empty = tmp_path / "plan.json", "conv 0x9x8x4 3x3x4x6"
    code, out, err = run(capsys, "tune", empty, TEXT, "--direction", "forward", "--out", path)
    assert (code, err) == (0, f"jaxconv tune: {empty} is empty, there is nothing to measure\n")
    assert out.endswith("1 measured now, 0 there before, 1 convolution in all\n")


def test_the_default_plan(measured, capsys, tmp_path, monkeypatch):
    """What tune keeps there is what explain, env and the library find."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "no such plan: " in refused(capsys, "explain", TEXT, "--default")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", os.devnull)
        path = default_plan_path()
        assert refused(capsys, "tune", TEXT, "--default").startswith(f"jaxconv tune: {path} cannot be added to: [Errno")
    code, out, _ = run(capsys, "tune", TEXT, "--default", "--direction", "forward")
    assert code == 0 and out.endswith(": 1 measured now, 0 there before, 1 convolution in all\n")
    assert json.loads(run(capsys, "env", "--json")[1])["plan"].startswith("1 convolution in plan-")
    assert run(capsys, "tune", TEXT, "--default")[0] == 0
    assert {*jaxconv.load_default_plan().convolutions} == {*in_training(TEXT).values()}
    rows = json.loads(run(capsys, "explain", TEXT, "--default", "--json")[1])
    assert {(row["algorithm"], row["why"]) for row in rows} == {("kn2row", "plan")}
    assert json.loads(run(capsys, "env", "--json")[1])["plan"].startswith("3 convolutions in plan-")


# --- check ----------------------------------------------------------------------------------------------------------

MINE = """
import jax

seen = []


def right(lhs, rhs, **arguments):
    seen.append((lhs, rhs, arguments))
    return jax.lax.conv_general_dilated(lhs, rhs, **arguments)


def swapped(lhs, rhs, window_strides, padding, **rest):
    wrong = {"SAME": "SAME_LOWER", "SAME_LOWER": "SAME"}.get(padding, padding)
    return jax.lax.conv_general_dilated(lhs, rhs, window_strides, wrong, **rest)


def strideless(lhs, rhs, window_strides, padding, **rest):
    assert set(window_strides) <= {1}, "no strides"
    return jax.lax.conv_general_dilated(lhs, rhs, window_strides, padding, **rest)


class Layers:
    right = staticmethod(right)


def at_times(lhs, rhs, **arguments):
    seen.append((lhs, rhs, arguments))
    return right(lhs, rhs, **arguments) * (2 if len(seen) == 40 else 1)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder to be in, with modules of its own, which are forgotten afterwards."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "needy.py").write_text("import jax\nimport no_such_thing\n")
    (tmp_path / "torn.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield lambda: sys.modules["mine"]
    assert sys.path == path
    for name in ("mine", "needy", "torn"):
        sys.modules.pop(name, None)


FEW = ("--ndim", "1", "--examples", "5", "--checks", "value")


@pytest.mark.parametrize("name", ["mine:right", "mine:Layers.right"])
def test_check_right(name, mine, capsys):
    code, out, err = run(capsys, "check", name, *FEW)
    assert (code, out, err) == (0, f"{name} is right: 5 problems, value\n", "")
    assert len(mine().seen) == 5
    assert run(capsys, "check", name, *FEW, "--examples", "1")[1] == f"{name} is right: 1 problem, value\n"


def test_check_wrong(mine, capsys):
    code, out, err = run(capsys, "check", "mine:swapped", "--ndim", "1", "--checks", "value", "--no-groups")
    first, report, *call = out.splitlines()
    assert (code, err, first) == (1, "", "mine:swapped is wrong") and report.startswith(
        "value: 1 of 1 values are wrong"
    )
    pasted = {"Problem": Problem, "conv_general_dilated": jax.lax.conv_general_dilated}
    exec("\n".join(call), pasted)
    assert pasted["lhs"].size == 1 and pasted["rhs"].size == 2  # the smallest that has two sides


def test_check_what_raises(mine, capsys, tmp_path):
    code, out, err = run(capsys, "check", "mine:strideless", *FEW[:2], "--checks", "value")
    assert (code, err) == (1, "")
    assert (
        f"it raised AssertionError: no strides ({tmp_path}/mine.py:18)\nlhs, rhs = Problem(lhs_shape=(1, 1, 1)" in out
    )
    assert "out = conv_general_dilated(lhs, rhs, window_strides=(2,)" in out
    assert run(capsys, "check", "mine:strideless", *FEW, "--no-strides")[0] == 0


def test_check_what_is_right_at_times(mine, capsys):
    code, out, err = run(capsys, "check", "mine:at_times", "--ndim", "1", "--checks", "value", "--no-empty")
    assert (code, err) == (1, "")
    first, report, *call = out.splitlines()
    assert first == "mine:at_times is wrong" and report.startswith("not deterministic: value: ")
    assert call[0].startswith("lhs, rhs = Problem(") and call[1].startswith("out = conv_general_dilated(")


def test_check_as_json(mine, capsys):
    code, out, _ = run(capsys, "check", "mine:right", *FEW, "--json")
    expected = {"function": "mine:right", "right": True, "problems": 5, "checks": ["value"]}
    assert code == 0 and json.loads(out) == {**expected, "wrong": None, "call": None}
    code, out, _ = run(capsys, "check", "mine:swapped", "--ndim", "1", "--checks", "value", "--json")
    content = json.loads(out)
    assert code == 1 and not content["right"] and content["problems"] >= 1
    assert content["wrong"].startswith("value: ") and content["call"].startswith("lhs, rhs = Problem(")


def test_check_on_what_it_is_told(mine, capsys):
    narrow = ["--layout", "NHWC", "--taps", "2,3", "--dtype", "bfloat16", "--no-groups", "--no-empty", "--no-strides"]
    narrow += ["--no-lhs-dilation", "--no-rhs-dilation", "--no-preferred-element-type", "--max-macs", "500"]
    assert run(capsys, "check", "mine:right", *narrow, "--checks", "value", "--examples", "20")[0] == 0
    taps = set()
    for lhs, rhs, arguments in mine().seen:
        geometry = geometry_of(lhs, rhs, **arguments)
        assert arguments["dimension_numbers"] == ("NHWC", "HWIO", "NHWC") and geometry.dtype == geometry.out_dtype
        assert geometry.dtype == "bfloat16" and geometry.groups == 1 and geometry.macs <= 500 and lhs.size
        assert {*geometry.strides, *geometry.lhs_dilation, *geometry.rhs_dilation} == {1}
        taps |= {*geometry.kernel}
    assert taps == {2, 3} and len(mine().seen) == 20


def test_check_offers_all_that_the_kit_does(monkeypatch, mine, capsys):
    """Every parameter of `problems` and `check` can be said, and arrives; what is not said is as by default."""
    told = {}

    def check(function, some, **judge):
        told.update(judge)

    def asked(**arguments):
        told.update(arguments)
        return problems(**arguments)

    monkeypatch.setattr("jaxconv.testing.check", check)
    monkeypatch.setattr("jaxconv.testing.problems", asked)
    kit = {**inspect.signature(problems).parameters, **inspect.signature(real_check).parameters}
    defaults = {name: each.default for name, each in kit.items() if name not in ("convolve", "problems")}
    switches = [name for name, default in defaults.items() if default is True]
    assert run(capsys, "check", "mine:right")[0] == 0
    assert told == defaults
    options = [f"--no-{name.replace('_', '-')}" for name in switches]
    options += ["--factor", "2", "--normwise", "--examples", "7", "--checks", "second-derivative", "--taps", "5"]
    options += ["--dtype", "float64", "--dtype", "int8", "--layout", "NCW", "--max-macs", "9"]
    assert run(capsys, "check", "mine:right", *options)[0] == 0
    assert all(told[name] != default for name, default in defaults.items()) and told["checks"] == ["second derivative"]
    assert told["layouts"] == (("NCW", "OIW", "NCW"),) and told["ndim"] == 1 and told["taps"] == (5,)


def test_check_help_names_all_checks(capsys):
    words = " ".join(run(capsys, "check", "--help")[1].split())
    assert all(name.replace(" ", "-") in words.replace("- ", "-") for name in CHECKS)


def test_check_what_cannot_be_imported(mine, capsys, tmp_path):
    said = refused(capsys, "check", "needy:f")
    assert (
        f"needy cannot be imported: ModuleNotFoundError: No module named 'no_such_thing' ({tmp_path}/needy.py:2)"
        in said
    )
    assert "torn cannot be imported: SyntaxError: " in refused(capsys, "check", "torn:f")


# --- env ------------------------------------------------------------------------------------------------------------


def test_env(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_TRACEBACK_FILTERING", "off")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    content = json.loads(run(capsys, "env", "--json")[1])
    assert content["jax"] == jax.__version__ and content["python"] == sys.version.split()[0]
    assert content["devices"] == jax.device_count() and content["platform"] == jax.default_backend()
    given = content["environment"]
    assert given["JAX_TRACEBACK_FILTERING"] == "off" and given["OMP_NUM_THREADS"] == "3"
    assert given["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert (content["cache"], content["plan"]) == (f"{tmp_path}/jaxconv", "none")
    code, out, err = run(capsys, "env")
    lines = dict(re.split(" +", line, maxsplit=1) for line in out.splitlines())
    assert (code, err) == (0, "") and set(lines) == set(content)
    assert lines["jax"] == jax.__version__ and "OMP_NUM_THREADS=3" in lines["environment"]


def test_env_has_what_decides_threads_and_kernels(capsys, monkeypatch):
    given = {"NPROC": "2", "PJRT_NPROC": "3", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "ALL"}
    given |= {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert given.items() <= json.loads(run(capsys, "env", "--json")[1])["environment"].items()
    assert all(f"{name}={value}" in str(environment()["threads"]) for name, value in given.items())
    for name in given:
        monkeypatch.delenv(name)
    assert not {*given} & {*json.loads(run(capsys, "env", "--json")[1])["environment"]}


@pytest.mark.parametrize(
    "text, said", [("{", "has no plan in it"), ('{"schema": 2}', "its format is version 2, this is 1")]
)
def test_env_says_what_is_wrong_with_the_plan(text, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = default_plan_path()
    path.parent.mkdir()
    path.write_text(text)
    code, out, err = run(capsys, "env")
    assert (code, err) == (0, "") and said in out


@pytest.mark.parametrize("platformdirs", [True, False])
def test_env_where_nothing_works(platformdirs, capsys, monkeypatch):
    """That is when it is needed most."""

    def no_devices():
        raise RuntimeError("no backend here")

    monkeypatch.setattr(jax, "devices", no_devices)
    if not platformdirs:
        monkeypatch.setitem(sys.modules, "platformdirs", None)
    code, out, err = run(capsys, "env")
    assert (code, err) == (0, "")
    reason = "no backend here$" if platformdirs else "the default plan needs platformdirs: pip install "
    assert re.search(r"^device +no backend here$", out, re.M) and re.search(rf"^plan +{reason}", out, re.M)


# --- demo -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held, code", [((True, True, True), 0), ((True, False, True), 1)])
def test_demo(held, code, capsys, monkeypatch, tmp_path):
    ran = []
    for part, holds in zip((photograph, race, digits), held, strict=True):
        monkeypatch.setattr(part, "show", lambda console, out, holds=holds: (ran.append(out), holds)[1])
    assert run(capsys, "demo", "--out", tmp_path)[0] == code and ran == [tmp_path] * 3


# --- as a program ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, encoding",
    [
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
    ],
)
def test_where_characters_cannot_be_printed(settings, encoding, tmp_path):
    """Others stand for them: of ±, boxes, and names of layers. Files have them all."""
    path, report, name = tmp_path / "out.json", tmp_path / "report.md", "a\N{MULTIPLICATION SIGN}b\N{SNOWMAN}"
    Results(path, {"settings": {}}, [row_of_times(name, lax=2e-3, im2col=1e-3)]).write()
    command = [sys.executable, "-m", "jaxconv", "bench", "--report-only", "--out", str(path), "--markdown", str(report)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **settings})
    assert (done.returncode, done.stderr) == (0, b"")
    words = done.stdout.decode(encoding)
    assert all(each.encode(encoding, "replace").decode(encoding) in words for each in (f" {name} ", " 1.00 ±10% "))
    assert f"| {name} |" in report.read_text(encoding="utf-8")


def test_from_a_shell(mine, tmp_path):
    """The exit code, the folder one is in, and no colours in a file or a pipe."""
    command = [sys.executable, "-P", "-m", "jaxconv", "check", "mine:swapped", "--ndim", "1", "--checks", "value"]
    root = str(Path(jaxconv.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (1, "") and done.stdout.startswith("mine:swapped is wrong\nvalue: ")

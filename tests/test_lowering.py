"""For GPUs and TPUs: every algorithm, forward and backward, lowers for them on a machine that has none.

Lowering is JAX's part of compiling; whether XLA can do its own, `test_tpu.py` and `test_gpu.py` say."""

import json
import re
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

import jax
import numpy as np
import pytest
from small_problems import TYPES, example, refusal

import jaxconv
from jaxconv import ALGORITHMS, _cost, _machine, _trials
from jaxconv._accuracy import ACCURACIES
from jaxconv._algorithms.xla import padded_ahead
from jaxconv._bench import by_jax
from jaxconv._bench.figures import geometric_mean
from jaxconv._bench.job import DIRECTIONS, CannotError, Job
from jaxconv._bench.layer import LAYOUTS, Layer
from jaxconv._bench.suites import KINDS
from jaxconv._select import choose, predictions
from jaxconv._settings import Request, Settings
from jaxconv.testing import Problem

PLATFORMS = ("cuda", "rocm", "tpu", "several")
INTEGERS = ("bool", "int4", "int8", "uint8", "int32", "uint32")
LAYER = Layer(2, 4, (9, 8), 6, 3, padding=1)
DEFAULT = Request(None, Settings())
MEASURED_ON_A_GPU = Path(__file__).parents[1] / "benchmarks" / "gpu.json"


def lowered(f, structs, platforms):
    return jax.jit(f).trace(*structs).lower(lowering_platforms=platforms).as_text()


def job(layer=LAYER, direction="forward", dtype="float32"):
    return Job("kinds", None, "", layer, direction, dtype, "NHWC")


def problem(*args, **kwargs):
    """lax's function and the shapes of its operands."""
    return by_jax.function(job(*args, **kwargs))


def geometry(*args, **kwargs):
    return by_jax.geometry(job(*args, **kwargs))


@pytest.fixture
def on_a_gpu(monkeypatch):
    """JAX as it is on a machine with a GPU of either maker, as far as its names go."""

    def pretend(maker):
        def devices(name):
            if name != maker:
                raise RuntimeError(f"Unknown backend {name}")

        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(jax, "devices", devices)

    return pretend


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(algorithm):
    """On real layers of every kind: what it takes, it takes there, and nothing in the program is the CPU's."""
    done = set()
    for name, layer in KINDS.items():
        for direction in DIRECTIONS:
            for dtype in ("float32", "bfloat16"):
                f, structs = problem(layer, direction, dtype)
                try:
                    f = by_jax.by_algorithm(algorithm, f, structs)
                except CannotError:
                    continue
                assert "custom_call" not in lowered(f, structs, ("cuda", "tpu")), (name, direction, dtype)
                done.add((direction, dtype))
    # Some layer in each direction, but for what is only for weight gradients or only for the other two.
    assert {dtype for _, dtype in done} == {"float32", "bfloat16"}
    one_sided = {"strips": 1, "col2im": 2}
    assert len({direction for direction, _ in done}) >= one_sided.get(algorithm, 1)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("accuracy", ["default", "fast"])
def test_what_was_not_measured_to_be_faster_is_left_to_lax(platform, accuracy):
    """The cost model is of CPUs; what XLA estimates for a TPU is no measurement either."""
    settings = Settings(accuracy)
    for layer in KINDS.values():
        for direction in DIRECTIONS:
            for dtype in ("float64",) if platform == "cuda" else ("float32", "bfloat16", "float64"):
                some = geometry(layer, direction, dtype)
                assert choose(Request(None, settings), some, platform).algorithm == "xla"
                assert not predictions(some, settings, platform)
    assert choose(DEFAULT, geometry(KINDS["MobileNetV2 depthwise"]), "cpu").algorithm != "xla"


def least_gain(some):
    """How many times as fast as lax a choice is at least: less where cuDNN has kernels, or is not slow by factors."""
    is_strided = max(*some.strides, *some.lhs_dilation) > 1
    if some.groups == 1:
        return 1.35  # the least work of HiFi-GAN's dilated layers
    if some.few_positions:
        return 1.5 if some.ndim == 1 else 2.4
    if is_strided and some.ndim == 2:
        return 1.2
    return 1.3 if prod(some.kernel) == 5**3 else 2.4


@pytest.mark.parametrize("accuracy", ["default", "fast"])
def test_what_is_chosen_on_a_gpu_was_measured_to_be_faster(accuracy):
    """Of every convolution that was measured, and many times in the mean; what is left to lax is not far behind."""
    gains: dict[str, list[float]] = {}
    for row in json.loads(MEASURED_ON_A_GPU.read_text())["rows"]:
        some = geometry(Layer.from_json(row["layer"]), row["direction"], row["dtype"])
        name = choose(Request(None, Settings(accuracy)), some, "cuda").algorithm
        times = {each: seconds for each, seconds in row["seconds"].items() if each in ACCURACIES[accuracy]}
        if name == "xla":
            assert times["xla"] < 3.2 * min(times.values()), row["name"]
        else:
            most = 8 if name == "fft" and row["layer"]["kernel"] >= 128 else 3  # sums of many taps err the most
            assert times[name] < times["xla"] / least_gain(some), row["name"]
            assert times[name] < 1.6 * min(times.values()), row["name"]
            assert row["errors"][name] < most * max(row["errors"]["xla"], 1.0)
            gains.setdefault(name, []).append(times["xla"] / times[name])
    always = {"kn2row", "im2col", "depthwise"}
    assert set(gains) == always | {"fft" if accuracy == "fast" else "packing"}
    assert all(geometric_mean(each) > 3 for each in gains.values())


def test_little_work_is_left_to_lax_on_a_gpu():
    """It is over before another program would have started: nothing of that was measured."""
    for images, side, name in ((4, 64, "packing"), (1, 64, "packing"), (1, 32, "xla"), (4, 8, "xla")):
        some = geometry(Layer(images, 64, (side, side), 64, 31, padding=15, groups=64))
        assert choose(DEFAULT, some, "cuda").algorithm == name
    for images, name in ((4, "kn2row"), (2, "xla")):
        some = geometry(Layer(images, 512, (1024,), 512, 7, padding=3, groups=512))
        assert choose(DEFAULT, some, "cuda").algorithm == name


DEPTHWISE = Layer(8, 512, (1024,), 512, 7, padding=3, groups=512)


@pytest.mark.parametrize(
    "layer",
    [
        DEPTHWISE._replace(outputs=1536),
        DEPTHWISE._replace(groups=128),
        DEPTHWISE._replace(spatial=(8, 16, 16)),
        DEPTHWISE._replace(spatial=(32, 32), kernel=3, padding=1),
        DEPTHWISE._replace(spatial=(32, 32), stride=2),
        DEPTHWISE._replace(spatial=()),
        Layer(32, 3, (64, 64), 768, 16, stride=16),  # cut into patches, of which there are fewer than pixels in one
        Layer(32, 3, (16, 64, 64), 768, 16, stride=16),
        Layer(1, 4096, (64, 64), 4096, 16, stride=16, groups=4096),
    ],
    ids=lambda layer: layer.describe(),
)
def test_what_is_unlike_those_measured_is_left_to_lax_on_a_gpu(layer):
    assert choose(DEFAULT, geometry(layer), "cuda").algorithm == "xla"


def test_a_filter_as_long_as_its_signal():
    """As users of GPUs have them: its weight gradient has as many positions as taps."""
    long = Layer(8, 128, (4096,), 128, 4096, padding=(4095, 0), groups=128)
    for accuracy, names in (("default", ["depthwise", "depthwise", "xla"]), ("fast", ["fft", "fft", "fft"])):
        chosen = [
            choose(Request(None, Settings(accuracy)), geometry(long, way), "cuda").algorithm for way in DIRECTIONS
        ]
        assert chosen == names


def test_what_is_faster_on_a_gpu_obeys_the_settings():
    """The bound on memory is another there, unless one is asked for."""
    some = geometry(KINDS["WaveNet"], "weight-grad")
    assert (Settings().bound("cpu"), Settings().bound("several"), Settings().bound("cuda")) == (2**24, 2**24, 2**30)
    for bound, chosen in ((2**30, "kn2row"), (0, "xla")):
        settings = Settings(max_workspace_bytes=bound)
        assert settings.bound("cuda") == settings.bound("cpu") == bound
        assert choose(Request(None, settings), some, "cuda").algorithm == chosen
    assert re.fullmatch(
        r"kn2row is measured to be faster on a GPU, but it needs \d+ bytes of workspace at least, and may take 0",
        choose(Request(None, settings), some, "cuda").why,
    )
    f, structs = problem(KINDS["WaveNet"], "weight-grad")
    assert "while" not in lowered(jaxconv.accelerate(f), structs, ("cuda",))
    assert "while" in lowered(jaxconv.accelerate(f, max_workspace_bytes=2**22), structs, ("cuda",))


CAUSAL = Layer(2, 4, (40,), 6, 2, padding=(8, 0), dilation=8)
UNEVEN = {
    "causal": CAUSAL,
    "strided": CAUSAL._replace(kernel=3, stride=2),
    "cropped": CAUSAL._replace(padding=(-3, 7)),
    "cropped evenly": CAUSAL._replace(padding=-2),
    "two axes": CAUSAL._replace(spatial=(24, 30), padding=(5, 2)),
    "groups": CAUSAL._replace(inputs=6, groups=3),
}
LEFT = {
    "even": CAUSAL._replace(padding=4),
    "not dilated": CAUSAL._replace(dilation=1),
    "hardly dilated": CAUSAL._replace(dilation=2),
    "transposed": CAUSAL._replace(dilation=3, up=2),
}


def convolved(layer, direction, platform):
    """The program's text but for the convolution, and its paddings."""
    f, structs = problem(layer, direction)
    program = lowered(jaxconv.accelerate(f, algorithm="xla"), structs, (platform,))
    [padding] = re.findall(r"stablehlo.convolution.*\bpad = (\[\[.*?\]\])", program)
    return re.sub("stablehlo.convolution.*", "", program), json.loads(padding)


@pytest.mark.parametrize("layer", UNEVEN.values(), ids=UNEVEN)
def test_dilated_layers_with_uneven_padding_are_padded_ahead_for_cuda(layer):
    """XLA would write the zeros of their kernels out there."""
    for direction in DIRECTIONS[: 1 if layer.stride > 1 or layer.padding == -2 else 2]:
        program, padding = convolved(layer, direction, "cuda")
        assert "stablehlo.pad" in program and "optimization_barrier" in program
        assert all(low == high >= 0 for low, high in padding)
        for platform in ("cpu", "tpu", "rocm"):
            assert "optimization_barrier" not in convolved(layer, direction, platform)[0]


@pytest.mark.parametrize("layer", LEFT.values(), ids=LEFT)
def test_other_layers_are_not_padded_ahead(layer):
    for direction in DIRECTIONS[: 1 if layer.up else 3]:
        assert "optimization_barrier" not in convolved(layer, direction, "cuda")[0]
    strided = CAUSAL._replace(dilation=1, stride=4, padding=(1, 0))
    assert "optimization_barrier" not in convolved(strided, "weight-grad", "cuda")[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", UNEVEN.values(), ids=UNEVEN)
def test_what_is_padded_ahead_is_the_same(layer, layout):
    lhs, rhs = (np.random.default_rng(0).integers(-9, 9, shape).astype("float32") for shape in layer.shapes(layout))
    arguments = {**layer.arguments(layout), "preferred_element_type": None}
    arguments["dimension_numbers"] = jax.lax.conv_dimension_numbers(
        lhs.shape, rhs.shape, arguments["dimension_numbers"]
    )
    expected = jax.lax.conv_general_dilated(lhs, rhs, **arguments)
    np.testing.assert_array_equal(padded_ahead(jax.lax.conv_general_dilated)(lhs, rhs, **arguments), expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_for_cuda(dtype):
    """XLA has no such convolution there: none is left in the program, batched or not, nor where falling back."""
    f, structs = problem(dtype=dtype)
    many = [jax.ShapeDtypeStruct((3, *struct.shape), dtype) for struct in structs]
    for algorithm in (None, "im2col", "winograd2"):
        ours = jaxconv.accelerate(f, algorithm=algorithm)
        assert "stablehlo.convolution" not in lowered(ours, structs, ("cuda",))
        assert "stablehlo.case" in lowered(ours, structs, ("cpu", "cuda", "tpu"))  # to each its own
        assert "stablehlo.convolution" not in lowered(jax.vmap(ours), many, ("cuda",))
    assert "stablehlo.convolution" in lowered(jaxconv.accelerate(f), structs, ("tpu",))
    assert "stablehlo.convolution" in lowered(jaxconv.accelerate(f, algorithm="xla"), structs, ("cuda",))  # as asked


@pytest.mark.parametrize("dtype, preferred", TYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_operands_for_cuda_are_of_the_type_of_their_sums(algorithm, dtype, preferred):
    """XLA there cannot multiply others, half types for sums of float32 excepted, nor can it convolve integers."""
    some = example(algorithm, dtype, preferred)
    if algorithm == "xla" or refusal(some, algorithm):
        return
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape in (some.lhs_shape, some.rhs_shape)]
    f = partial(jaxconv.conv_general_dilated, **some.arguments, algorithm=algorithm)
    program = lowered(f, structs, ("cuda",))
    products = re.findall(r"stablehlo\.(dot_general|convolution)\(?.* : \((\S+), (\S+)\) -> (\S+)", program)
    for operation, *types in products:
        lhs, rhs, out = (text.rstrip(">").split("x")[-1] for text in types)
        assert lhs == rhs and (lhs == out or (lhs, out) in [("f16", "f32"), ("bf16", "f32")])
        assert operation == "dot_general" or "i" not in out
    assert products or algorithm in ("depthwise", "winograd2", "winograd4", "fft"), "no product was found"


def test_integers_of_unknown_number_are_left_to_lax():
    """The products of matrices that would do them instead are of constant shapes."""
    some = replace(geometry(dtype="int8"), batch=jax.export.symbolic_shape("b")[0])
    assert choose(DEFAULT, some, "cuda").algorithm == "xla"


@pytest.mark.parametrize("maker", ["cuda", "rocm"])
def test_the_gpu_at_hand_is_called_what_programs_are_compiled_for(maker, on_a_gpu):
    before = _machine.platform()
    on_a_gpu(maker)
    assert (before, _machine.platform()) == ("cpu", maker)


def test_what_is_told_and_tuned_on_a_gpu(on_a_gpu):
    f, structs = problem(dtype="int8")
    whole, real = geometry(dtype="int8"), geometry(KINDS["MobileNetV2 depthwise"])
    able = {name for name in ALGORITHMS if not ALGORITHMS[name].unsupported(real)} - {"naive", "winograd4", "fft"}
    assert set(_trials.candidates(real, Settings())) < able  # on a CPU some are hopeless
    on_a_gpu("cuda")
    assert set(_trials.candidates(real, Settings())) == able - {"onednn"}
    assert "im2col" in _trials.candidates(whole, Settings()) and "xla" not in _trials.candidates(whole, Settings())
    [row] = jaxconv.explain(f, *structs).rows
    assert row.algorithm == "im2col" and "CUDA" in row.why


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_threads_of_this_machine_do_not_matter_elsewhere(platform, monkeypatch):
    f, structs = problem(KINDS["MobileNetV2 depthwise"])
    programs = set()
    for threads in (1, 64):
        monkeypatch.setattr(_cost, "cores", lambda threads=threads: threads)
        programs.add(lowered(jaxconv.accelerate(f), structs, (platform,)))
    assert len(programs) == 1


def products(f, structs, platform):
    """Lines of the program that multiply."""
    kinds = ("stablehlo.dot_general", "stablehlo.convolution")
    return [line for line in lowered(f, structs, (platform,)).splitlines() if any(kind in line for kind in kinds)]


@pytest.mark.parametrize("precision", ["highest", "default"])
@pytest.mark.parametrize(
    "algorithm", ["im2col", "kn2row", "naive", "strips", "col2im", "polyphase", "slabs", "packing", "xla"]
)
def test_precision_reaches_the_products(algorithm, precision):
    some = example(algorithm, size=9)

    def f(lhs, rhs):
        more = {"precision": precision, "algorithm": algorithm}
        return jaxconv.conv_general_dilated(lhs, rhs, **some.arguments, **more)

    found = products(f, some.operands(), "tpu")
    assert found and all(("HIGHEST" in line) == (precision == "highest") for line in found)


@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4", "fft"])
def test_products_of_transforms_are_exact(algorithm):
    some = Problem((2, 4, 12), (4, 4, 3), (1,), "SAME")
    convolve = partial(jaxconv.conv_general_dilated, **some.arguments, algorithm=algorithm)
    found = products(convolve, some.operands(), "tpu")
    assert found and all("HIGHEST" in line for line in found)


@pytest.mark.parametrize("algorithm", ["kn2row", "winograd2"])
def test_precision_of_weight_gradients(algorithm):
    def loss(rhs, lhs):
        return jax.lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME", precision="highest").sum()

    structs = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((4, 4, 3, 3), (2, 4, 12, 12))]
    found = products(jaxconv.accelerate(jax.grad(loss), algorithm=algorithm), structs, "tpu")
    assert found and all("HIGHEST" in line for line in found)


@pytest.mark.parametrize("algorithm", ["im2col", "kn2row"])
def test_integers_that_become_floats_for_cuda_are_not_rounded(algorithm):
    def f(lhs, rhs):
        more = {"preferred_element_type": "float32", "algorithm": algorithm}
        return jaxconv.conv_general_dilated(lhs, rhs, (1,), "SAME", **more)

    structs = [jax.ShapeDtypeStruct(shape, "int16") for shape in ((1, 2, 9), (3, 2, 3))]
    found = products(f, structs, "cuda")
    assert found and all("HIGHEST" in line for line in found)

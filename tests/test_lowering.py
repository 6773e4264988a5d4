"""For GPUs and TPUs: every algorithm, forward and backward, lowers for them on a machine that has none.

Lowering is JAX's part of compiling; whether XLA can do its own, `test_tpu.py` says for TPUs."""

from dataclasses import replace

import jax
import pytest

import jaxconv
from jaxconv import ALGORITHMS, _autotune, _cost, _machine
from jaxconv._bench import by_jax
from jaxconv._bench.job import DIRECTIONS, CannotError, Job
from jaxconv._bench.layer import Layer
from jaxconv._bench.suites import KINDS
from jaxconv._collect import convolutions
from jaxconv._select import choose, predictions
from jaxconv._settings import Request, Settings

PLATFORMS = ("cuda", "rocm", "tpu", "several")
INTEGERS = ("bool", "int4", "int8", "uint8", "int32", "uint32")
LAYER = Layer(2, 4, (9, 8), 6, 3, padding=1)
DEFAULT = Request(None, Settings())


def lowered(f, structs, platforms):
    return jax.jit(f).trace(*structs).lower(lowering_platforms=platforms).as_text()


def problem(layer=LAYER, direction="forward", dtype="float32"):
    """lax's function and the shapes of its operands."""
    return by_jax.function(Job("kinds", None, "", layer, direction, dtype, "NHWC"))


def geometry(*args, **kwargs):
    f, structs = problem(*args, **kwargs)
    [found] = convolutions(f, *structs)
    return found.geometry


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
    one_sided = {"strips": 1, "col2im": 2, "winograd2": 2, "winograd4": 2}
    assert len({direction for direction, _ in done}) >= one_sided.get(algorithm, 1)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_was_not_measured_is_left_to_lax(platform):
    """The cost model is of CPUs; what XLA estimates for a TPU is no measurement either."""
    for layer in KINDS.values():
        for direction in DIRECTIONS:
            for dtype in ("float32", "bfloat16"):
                some = geometry(layer, direction, dtype)
                assert choose(DEFAULT, some, platform).algorithm == "xla"
                assert not predictions(some, Settings(), platform)
    assert choose(DEFAULT, geometry(KINDS["MobileNetV2 depthwise"]), "cpu").algorithm != "xla"


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
    assert set(_autotune.candidates(real, Settings())) < able  # on a CPU some are hopeless
    on_a_gpu("cuda")
    assert set(_autotune.candidates(real, Settings())) == able - {"onednn"}
    assert "im2col" in _autotune.candidates(whole, Settings()) and "xla" not in _autotune.candidates(whole, Settings())
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

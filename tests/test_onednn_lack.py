"""Whether oneDNN is there: by versions, processors and a call that is tried, wherever the question comes first."""

from dataclasses import replace

import jax.numpy as jnp
import pytest
from marks import needs_onednn
from onednn_calls import NHWC, conv, run
from onednn_calls import asked_anew as asked_anew
from onednn_calls import operands as operands

from jaxconv._algorithms import _onednn, _onednn_call
from jaxconv._parameters import geometry_of


@pytest.mark.parametrize("version", ["0.9.2", "0.13.0", "1.0", None])
def test_versions_it_was_not_tried_with(monkeypatch, asked_anew, operands, version):
    monkeypatch.setattr(_onednn, "version", lambda package: version)
    monkeypatch.setattr(_onednn, "_try", lambda: pytest.fail("tried, which may end the process"))
    monkeypatch.setattr(_onednn.platform, "machine", lambda: "x86_64")
    assert f"this is {version or 'unknown'}" in _onednn.lack()
    with pytest.raises(ValueError, match="'onednn' cannot do this convolution: oneDNN was tried with jaxlib"):
        conv(*operands, algorithm="onednn")


@pytest.mark.parametrize(
    "flags, variable, reason",
    [
        ({"sse4_1"}, None, "oneDNN's kernels are for processors with AVX2, and this one has none"),
        ({"avx2"}, "SSE41", "oneDNN is told to do without AVX2: ONEDNN_MAX_CPU_ISA=SSE41"),
        ({"avx2"}, "AVX", "oneDNN is told to do without AVX2: ONEDNN_MAX_CPU_ISA=AVX"),
        ({"avx2"}, "avx512_core", "tried"),
        (set(), None, "tried"),  # where the system does not tell
    ],
)
def test_few_instructions(monkeypatch, asked_anew, flags, variable, reason):
    monkeypatch.setattr(_onednn.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(_onednn, "version", lambda package: "0.10.2")
    monkeypatch.setattr(_onednn, "processor_flags", lambda: frozenset(flags))
    monkeypatch.setattr(_onednn, "_try", lambda: "tried")
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    if variable:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", variable)
    else:
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert _onednn.lack() == reason


def test_other_processors(monkeypatch, asked_anew):
    monkeypatch.setattr(_onednn.platform, "machine", lambda: "aarch64")
    assert _onednn.lack() == "jaxlib has oneDNN for x86 processors, and this one is aarch64"


@needs_onednn
def test_a_jaxlib_without_it(monkeypatch, asked_anew):
    monkeypatch.setattr(_onednn_call, "TARGET", "__onednn$no_such_thing")
    assert _onednn.lack().startswith("XLA does not run oneDNN here: ")


@needs_onednn
@pytest.mark.parametrize("change", [{"strides": (1, 1)}, {"rhs_dilation": (1, 1)}, {"padding": ((2, 1), (0, 0))}])
def test_a_call_that_means_something_else_is_noticed(monkeypatch, asked_anew, change):
    """Arguments that come to the same number of results or to another one."""
    call = _onednn.call

    def other(lhs, rhs, geometry):
        return jnp.resize(call(lhs, rhs, replace(geometry, **change)), geometry.out_layout.shape)

    monkeypatch.setattr(_onednn, "call", other)
    assert _onednn.lack() == "XLA ran oneDNN and the result was wrong"


@needs_onednn
def test_bfloat16_is_left_to_others_where_it_would_end_the_process(monkeypatch, operands):
    geometry = geometry_of(*(x.astype("bfloat16") for x in operands), (1, 1), "SAME", dimension_numbers=NHWC)
    for flags, variable in ((frozenset({"avx2"}), None), (_onednn.BFLOAT16_FLAGS, "ONEDNN_MAX_CPU_ISA")):
        _onednn.has_bfloat16.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(_onednn, "processor_flags", lambda flags=flags: flags)
            if variable:
                patched.setenv(variable, "AVX2")
            assert _onednn.refuses(geometry) == "its convolutions of bfloat16 are for processors with AVX-512"
    _onednn.has_bfloat16.cache_clear()


@needs_onednn
@pytest.mark.parametrize("where", ["grad", "set_mesh", "scan", "vmap"])
def test_the_first_question_may_come_anywhere(where):
    """Within any trace and any context: a process that has not tried oneDNN yet tries it there."""
    code = f"""
import jax, jax.numpy as jnp, jaxconv
from jaxconv._algorithms import _onednn
def f(x, w):
    return jaxconv.conv_general_dilated(x, w, (1, 1), "SAME", algorithm="onednn").sum()
x, w = jnp.ones((2, 3, 6, 6)), jnp.ones((4, 3, 3, 3))
where = {where!r}
if where == "set_mesh":
    with jax.set_mesh(jax.make_mesh((1,), ("x",))):
        jax.jit(f)(x, w)
elif where == "scan":
    jax.lax.scan(lambda carry, x: (carry + f(x[None], w), None), 0.0, x)
else:
    dict(grad=jax.grad(f), vmap=jax.vmap(f, (None, 0)))[where](x, w if where == "grad" else jnp.stack([w, w]))
assert _onednn.tried.cache_info().currsize == 1 and not _onednn.lack()
"""
    run(code)

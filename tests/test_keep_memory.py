"""A process that keeps its memory has large arrays without page faults, and says where it cannot."""

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import jaxconv
from jaxconv import _memory

# Programs with an array of 100 MB inside and one of 100 MB as the result: the first is XLA's own, not Python's. Most
# calls count: now and then the small result of the first settles where the large array was, which has to be elsewhere
# then, and as good as all memory is new in the first calls.
PROGRAM = """
import resource, statistics, jax, jaxconv

def faults(f, x):
    counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
    for _ in range(21):
        f(x).block_until_ready()
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return statistics.median(after - before for before, after in zip(counts, counts[1:]))

if {keep}:
    jaxconv.keep_memory()
x = jax.numpy.ones((5000, 8))
print(faults(jax.jit(lambda x: (x @ x.T) @ x), x), faults(jax.jit(lambda x: x @ x.T), x))
jaxconv.keep_memory() if {keep} else None  # again, which changes nothing
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")


@needs_glibc
@pytest.mark.parametrize("keep", [False, True])
def test_what_is_kept_costs_no_page_faults(keep):
    run = subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    inside, result = map(float, run.stdout.split())
    pages = 5000 * 5000 * 4 // 4096
    if keep:
        assert inside < pages / 100 and result < pages / 100
    else:  # or there is nothing to gain any longer
        assert inside > pages / 2 and result > pages / 2


@needs_glibc
def test_once_devices_have_started_it_is_too_late():
    jnp.zeros(1)
    assert jax.config.read("jax_cpu_enable_async_dispatch")
    with pytest.raises(RuntimeError, match=r"^keep_memory must be called before JAX starts its devices"):
        jaxconv.keep_memory()
    assert jax.config.read("jax_cpu_enable_async_dispatch")


def test_without_glibc(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with pytest.raises(RuntimeError, match=r"^keep_memory is about glibc's malloc"):
        jaxconv.keep_memory()


@needs_glibc
def test_a_malloc_that_refuses(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda parameter, value: 0))
    with pytest.raises(RuntimeError, match=r"^mallopt\(-4, 0\) failed"):
        _memory.keep_freed()

"""`python -m jaxconv env`: what a report of a fault needs, also where nothing else works."""

import json
import re
import sys

import jax
import pytest
from commands import run

from jaxconv._bench.environment import environment
from jaxconv._default_plan import default_plan_path


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

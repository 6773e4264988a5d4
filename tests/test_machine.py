"""What tells one machine from another."""

import subprocess
from types import SimpleNamespace

import pytest
from marks import on_cpu

from jaxconv import _machine

EPYC = "processor\t: 0\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2\n"
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: {}\n"


@pytest.fixture(autouse=True)
def asked_anew():
    _machine.processor.cache_clear()
    yield
    _machine.processor.cache_clear()


@pytest.mark.parametrize(
    "text, name",
    [
        (EPYC.format(25, 17), "AMD EPYC (family 25, model 17)"),
        (EPYC.format(23, 49), "AMD EPYC (family 23, model 49)"),
        (ARM.format("0xd0c"), "aarch64 (implementer 0x41, part 0xd0c)"),
        (ARM.format("0xd4f"), "aarch64 (implementer 0x41, part 0xd4f)"),
        ("processor\t: 0\n", "aarch64"),
    ],
)
def test_processors_that_are_called_the_same(text, name, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(_machine, "CPUINFO", path)
    monkeypatch.setattr(_machine.system, "machine", lambda: "aarch64")
    assert _machine.processor() == name


def test_a_mac_s(tmp_path, monkeypatch):
    monkeypatch.setattr(_machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: SimpleNamespace(stdout="Apple M2 Pro\n"))
    assert _machine.processor() == "Apple M2 Pro"


def test_where_nothing_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(_machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(_machine, "BRAND", (str(tmp_path / "sysctl"),))
    monkeypatch.setattr(_machine.system, "processor", lambda: "")
    monkeypatch.setattr(_machine.system, "machine", lambda: "riscv64")
    assert _machine.processor() == "riscv64"


@on_cpu
def test_as_many_threads_as_xla_is_told(monkeypatch):
    monkeypatch.setenv("NPROC", "3")
    assert _machine.cores() == _machine.conditions()["threads"] == 3
    for neither in ("", "0", "all", "-2"):
        monkeypatch.setenv("NPROC", neither)
        assert _machine.cores() >= 1

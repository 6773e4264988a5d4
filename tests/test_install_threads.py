"""`install` and `uninstall` hold for all threads at once, whatever these are doing."""

import threading

import jax
import numpy as np
import pytest
from installing import LHS, RHS, conv, is_lax, ours
from installing import clean as clean
from installing import sevens as sevens

import jaxconv
from jaxconv import ALGORITHMS


def test_all_threads_at_once(sevens):
    """Those that run already, too, and those within a policy of their own."""
    f, steps, seen = jax.jit(conv), threading.Barrier(3, timeout=600), {}

    def work(name, policy):
        with policy:
            for _ in range(3):
                steps.wait()
                seen.setdefault(name, []).append(bool((f(LHS, RHS) == 7).all() and (conv(LHS, RHS) == 7).all()))
                steps.wait()

    policies = {"plain": jaxconv.policy(), "strict": jaxconv.policy(accuracy="strict")}
    threads = [threading.Thread(target=work, args=item) for item in policies.items()]
    for thread in threads:
        thread.start()
    for change in (lambda: None, lambda: jaxconv.install(algorithm="im2col"), jaxconv.uninstall):
        change()
        steps.wait()
        steps.wait()
    for thread in threads:
        thread.join()
    assert seen == {name: [False, True, False] for name in policies}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("where", ["tracing", "lowering"])
def test_what_another_thread_is_compiling_meanwhile_is_forgotten(where, before, sevens, monkeypatch):
    """It may have come out either way. Whoever calls after the change gets what holds then, and after the next, too."""
    waiting, go = threading.Event(), threading.Event()
    names = ("im2col", "kn2row")

    def pause():
        if threading.current_thread() is thread:
            waiting.set()
            assert go.wait(600)

    for name in names:
        inner = ALGORITHMS[name].convolve

        def convolve(*operands, inner=inner):
            if where == "lowering":
                pause()
            return inner(*operands)

        monkeypatch.setitem(ALGORITHMS, name, ALGORITHMS[name]._replace(convolve=convolve))

    @jax.jit
    def f(lhs, rhs):
        if where == "tracing":
            pause()
        return conv(lhs, rhs), ours("kn2row")(lhs, rhs)  # the second to wait at while nothing is installed

    def is_seven():
        return bool((f(LHS, RHS)[0] == 7).all())

    changes = [jaxconv.uninstall, lambda: jaxconv.install(algorithm="im2col")]
    if before:
        changes[1]()
    thread = threading.Thread(target=f, args=(LHS, RHS))
    thread.start()
    assert waiting.wait(600)
    for now in (not before, before, not before):
        changes[now]()
        if not go.is_set():
            go.set()
            thread.join()
        assert is_seven() == now


def test_changed_by_many_threads_at_once():
    """Whatever the order, values are right, and what is there in the end is what the last change said."""
    expected, wrong = conv(LHS, RHS), []

    def work(turn):
        for i in range(3):
            if (turn + i) % 3:
                jaxconv.install(algorithm=("im2col", "kn2row")[turn % 2])
            else:
                jaxconv.uninstall()
            if not np.allclose(conv(LHS, RHS), expected, 1e-4, 1e-4):
                wrong.append((turn, i))

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    jaxconv.install(algorithm="im2col")
    assert not is_lax(conv, LHS, RHS)
    jaxconv.uninstall()
    assert is_lax(conv, LHS, RHS)

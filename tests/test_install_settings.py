"""What is installed goes by accuracy, memory and plans where it is compiled; `explain` and `autotune` know of it."""

from collections import Counter
from typing import Any

import jax
import pytest
from installing import LHS, RHS, conv, planned
from installing import clean as clean
from installing import ran as ran
from installing import sevens as sevens
from jax import lax

import jaxconv


@pytest.mark.parametrize(
    "more, taken", [({}, True), ({"accuracy": "strict"}, False), ({"max_workspace_bytes": 9}, False)]
)
def test_accuracy_and_memory(more: dict[str, Any], taken, ran):
    jaxconv.install(**more)
    with planned("winograd2"):
        conv(LHS, RHS)
    assert ("winograd2" in ran) == taken


def test_plans_and_policies_of_the_place_where_it_is_compiled(sevens):
    jaxconv.install()
    jitted, plan = jax.jit(conv), planned("im2col")

    def is_seven(f):
        return bool((f(LHS, RHS) == 7).all())

    for f in (
        conv,
        jitted,
        lambda *operands: jax.jit(lambda *operands: conv(*operands)).lower(*operands).compile()(*operands),
    ):
        with planned("kn2row"):
            for _ in range(2):
                assert not is_seven(f)
                with plan:
                    assert is_seven(f)
                    with jaxconv.policy(max_workspace_bytes=9):
                        assert not is_seven(f)
    with plan:
        traced = jitted.trace(LHS, RHS)
    with planned("kn2row"):
        assert not is_seven(traced.lower().compile())
    with plan:
        assert is_seven(jitted.trace(LHS, RHS).lower().compile())


def test_explain_says_what_runs(ran):
    def dense(lhs, rhs):
        return jax.grad(lambda lhs, rhs: (lax.conv(lhs, rhs, (1, 1), "SAME") ** 2).sum(), (0, 1))(lhs, rhs)

    jaxconv.install(algorithm="strips")  # which takes the weight gradient alone
    rows = jaxconv.explain(dense, LHS[:, :2], RHS).rows
    jax.jit(dense).lower(LHS[:, :2], RHS)
    assert ran == ["strips"] == [row.algorithm for row in rows if row.algorithm != "xla"]
    assert [row.why for row in rows if row.algorithm == "strips"] == ["asked for"]
    jaxconv.install(accuracy="strict", max_workspace_bytes=9)
    [row] = jaxconv.explain(conv, LHS, RHS).rows
    assert "'strict'" in row.rejected["winograd2"] and "may take 9" in row.rejected["im2col"]
    [row] = jaxconv.explain(conv, LHS, RHS, accuracy="default").rows
    assert "may take 9" in row.rejected["winograd2"]
    jaxconv.uninstall()
    [row] = jaxconv.explain(conv, LHS, RHS).rows
    assert "may take" not in " ".join(row.rejected.values())


def test_autotune_times_each_as_it_is(ran):
    """Lax's own among them, which is not what was installed."""
    jaxconv.install(algorithm="im2col")
    plan = jaxconv.autotune(conv, LHS, RHS, progress=False)
    [tuned] = plan.convolutions.values()
    assert "xla" in tuned.seconds and Counter(ran) == Counter(set(tuned.seconds) - {"xla"})
    ran.clear()
    jaxconv.install()
    with plan:
        conv(LHS, RHS)
    assert ran == [tuned.algorithm] * (tuned.algorithm != "xla")

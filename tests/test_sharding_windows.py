"""Which rows the windows of a shard meet, its own and those of its neighbours, and in which block or piece."""

from itertools import product

from hypothesis import assume, given
from hypothesis import strategies as st

from jaxconv._sharding import pieces
from jaxconv._sharding.along import Along
from jaxconv._sharding.windows import window

windows = st.builds(
    window,
    *(st.integers(1, 20), st.integers(1, 20), st.integers(1, 5), st.integers(1, 3)),
    *(st.integers(0, 8), st.integers(1, 3), st.integers(-6, 8)),
)  # size, total, shards, step, reach, dilation, low


@given(windows, st.integers(1, 20))
def test_windows(part, count):
    """Each block has the rows that it needs where its convolution looks for them; none are received for nothing."""
    size, total, shards, step, reach, dilation, low, own, share, *_ = part
    count = min(count, share)
    blocks = part.blocks_of(count)
    assert {p for start in blocks.starts for p in range(start, start + count)} == {*range(share)}
    needed = {"left": 0, "right": 0}
    for j, (at, start) in product(range(shards), enumerate(blocks.starts)):
        mine = range(j * own, (j + 1) * own)
        received = range(mine.start - part.left, mine.stop + part.right)
        for position in range(j * share + start, min(j * share + start + count, total)):
            local = position - (j * share + start - blocks.skips[j, at])
            assert 0 <= local < blocks.computed
            for behind in range(reach + 1):
                row, phase = divmod(step * position + behind - low, dilation)
                here, local_phase = divmod(step * local + behind - blocks.padding[0], dilation)
                there = mine.start + blocks.firsts[j, at] + here  # which row that is
                if phase or not 0 <= row < size:  # a zero: of the dilation, the padding, or of nobody's row
                    assert local_phase or not 0 <= here < blocks.rows or there not in received or not 0 <= there < size
                else:
                    assert not local_phase and there == row and 0 <= here < blocks.rows and row in received
                    needed["left"] = max(needed["left"], mine.start - row)
                    needed["right"] = max(needed["right"], row - mine.stop + 1)
    assert needed == {"left": part.left, "right": part.right}


@st.composite
def windows_at_the_same_place(draw):
    shards, step, dilation, times = (draw(st.integers(*span)) for span in ((2, 5), (1, 3), (1, 3), (1, 6)))
    rows, positions = shards * step * times, shards * dilation * times
    return window(rows, positions, shards, step, draw(st.integers(0, 8)), dilation, draw(st.integers(-6, 8)))


@given(windows_at_the_same_place())
def test_pieces_of_windows(part):
    """Each product of a row and a position is in one of them, where its padding puts it."""
    regular_windows = pieces.regular_windows([Along(part, ("x",), 0, 0, False, 0, part.share)])
    assume(regular_windows)
    [regular] = regular_windows
    _, _, _, step, reach, dilation, _, own, share, *_ = part

    def meet(position, row):
        return 0 <= regular.origin + dilation * row - step * position <= reach

    rows = range(-part.left, own + part.right)
    first, end = regular.inner
    for row in rows:
        for position in range(share):
            if meet(position, row) and not 0 <= row < own:
                assert position < first if row < 0 else position >= end
    for piece in (regular.own_rows, regular.all_rows, *regular.edges, *regular.neighbours_rows):
        before, after = regular.padding_of(piece)
        places = {before + dilation * (row - piece.rows[0]): row for row in range(*piece.rows)}
        count = before + after + (len(places) - 1) * dilation + 1
        assert (count - reach - 1) // step + 1 == len(range(*piece.positions))
        for position in range(*piece.positions):
            start = step * (position - piece.positions[0])
            found = {places[place] for place in range(start, start + reach + 1) if place in places}
            assert found == {row for row in range(*piece.rows) if meet(position, row)}
    for edge in regular.edges:
        assert all(row in range(*edge.rows) for row in rows for at in range(*edge.positions) if meet(at, row))

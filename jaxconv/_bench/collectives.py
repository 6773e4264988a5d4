"""What a compiled program sends between devices, read in its text (HLO).

Counted is each instruction once, an asynchronous one with its start, in whichever computation it is: in the body of a
loop once, however often that runs. What a device sends, of results of B bytes on each of n devices, by the algorithms
that send least (rings; Patarasuk and Yuan, 2009):

    collective-permute                  B, if it is the source of a pair that is not itself
    all-gather, all-to-all              B (n - 1) / n
    reduce-scatter                      B (n - 1)
    all-reduce                        2 B (n - 1) / n, as a reduce-scatter and an all-gather
    collective-broadcast                B at most

Bytes are of elements: without the padding of tiled layouts, which is not a program's to choose.
"""

import re
from collections import Counter
from math import prod
from typing import NamedTuple

from .._geometry import ceil_div

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute", "reduce-scatter")
# A shape has neither = nor quotes, so names of kinds in attributes are not taken for operations.
INSTRUCTION = re.compile(
    rf"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<shape>[^=\"]*?) (?P<kind>{'|'.join(KINDS)})(?P<part>-start|-done)?"
    r"\((?:[^=]*?%)?(?P<operand>[\w.-]*)"
)
COMMENT = re.compile(r"/\*.*?\*/")
ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")
PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")
GROUPS = re.compile(r"replica_groups=(?:\{(\{[\d,{}]*\})?\}|\[\d+,(\d+)\]<=|mesh\[(.*?)\][^{]*\{(.*?)\})")
# Of a mesh: 'name'=size; of a part of an axis: 'name':(first)size.
AXIS = re.compile(r"""['"]?([\w.-]+(?: [\w.-]+)*)['"]?(?::\(\d+\)(\d+))?(?:=(\d+))?""")
DEVICES = re.compile(r"^HloModule .*$", re.MULTILINE)


class Collective(NamedTuple):
    """One instruction.

    Attributes:
      kind: one of `KINDS`.
      bytes: of its results on one device.
      participants: devices in the largest group that it is among; of a collective-permute those that send.
      sources: of a collective-permute, the devices that send to others.
    """

    kind: str
    bytes: int
    participants: int
    sources: tuple[int, ...] = ()

    @property
    def sent(self) -> int:
        """Bytes that a device sends, as said above."""
        others = self.participants - 1
        return {
            "collective-permute": self.bytes if self.sources else 0,
            "collective-broadcast": self.bytes if others else 0,
            "reduce-scatter": self.bytes * others,
            "all-reduce": 2 * self.bytes * others // self.participants if others else 0,
        }.get(self.kind, self.bytes * others // self.participants if others else 0)


class Traffic(NamedTuple):
    """All instructions of a kind: how many, bytes of their results on one device, and bytes that the device which
    sends most of them sends."""

    instructions: int
    bytes: int
    sent: int


def traffic(hlo: str) -> dict[str, Traffic]:
    """What the program sends, by kind, of those that it has; `hlo` as `jax.stages.Compiled.as_text` gives it.

    >>> import jax, jax.numpy as jnp
    >>> traffic(jax.jit(jnp.sin).lower(1.0).compile().as_text())
    {}
    """
    found = collectives(hlo)
    return {
        kind: Traffic(len(same), sum(one.bytes for one in same), _sent_by_the_busiest(same))
        for kind in KINDS
        if (same := [one for one in found if one.kind == kind])
    }


def collectives(hlo: str) -> list[Collective]:
    """Each collective of the program, in the order of its text.

    Raises:
      ValueError: for one whose devices are written in an unknown way, or that starts and is never done.
    """
    matches = [(match, line) for line in COMMENT.sub("", hlo).splitlines() if (match := INSTRUCTION.match(line))]
    # What a start gives has its operands and more beside the results; what is done has the results alone.
    results = {match["operand"]: match["shape"] for match, _ in matches if match["part"] == "-done"}
    found = []
    for match, line in matches:
        if match["part"] == "-done":
            continue
        if match["part"] == "-start" and match["name"] not in results:
            raise ValueError(f"{match['kind']} starts and is never done: {line.strip()[:200]}")
        shape = results[match["name"]] if match["part"] else match["shape"]
        sources = _sources(line) if match["kind"] == "collective-permute" else ()
        participants = len(sources) if match["kind"] == "collective-permute" else _participants(line, hlo)
        found.append(Collective(match["kind"], shape_bytes(shape), participants, sources))
    return found


def shape_bytes(shape: str) -> int:
    """Bytes of the elements of a shape, or of all in a tuple, as HLO writes it.

    >>> shape_bytes("(bf16[2,3]{1,0:T(8,128)(2,1)}, s4[3], pred[])")
    15
    """
    return sum(
        ceil_div(_bits(name) * prod(map(int, re.findall(r"\d+", sizes))), 8) for name, sizes in ARRAY.findall(shape)
    )


def _bits(dtype: str) -> int:
    """Of an element: the first number in the type's name."""
    if dtype == "pred":
        return 8
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else 0  # tokens have none


def _sources(line: str) -> tuple[int, ...]:
    written = PAIRS.search(line)
    if written is None:
        raise ValueError(f"a collective-permute without source_target_pairs: {line.strip()[:200]}")
    pairs = re.findall(r"(\d+),(\d+)", written[1])
    return tuple(int(source) for source, target in pairs if source != target)


def _participants(line: str, hlo: str) -> int:
    written = GROUPS.search(line)
    if written is None:
        raise ValueError(f"replica_groups written in an unknown way: {line.strip()[:200]}")
    if written[2]:
        return int(written[2])
    if written[3]:  # along some axes of a mesh, or parts of axes
        sizes = {name: size for name, _, size in AXIS.findall(written[3])}
        return prod(int(part or sizes[name]) for name, part, _ in AXIS.findall(written[4]))
    if written[1]:
        return max(len(re.findall(r"\d+", group)) for group in re.findall(r"\{([\d,]+)\}", written[1]))
    header = DEVICES.search(hlo)  # no group is all devices
    counts = re.findall(r"(?:num_partitions|replica_count)=(\d+)", header[0] if header else "")
    return prod(map(int, counts))


def _sent_by_the_busiest(same: list[Collective]) -> int:
    if same[0].kind != "collective-permute":
        return sum(one.sent for one in same)
    sent = Counter[int]()
    for one in same:
        for source in one.sources:
            sent[source] += one.bytes
    return max(sent.values(), default=0)

"""A fixed budget of mutated headers, guided by the lines of the reader that they reach."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings, target
from hypothesis import strategies as st

from spectra.sources import safetensors_header
from tests.fuzz.header_property import SEEDS, check

EXAMPLES = 1000

TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"0",
    b"-1",
    b"1e400",
    b"NaN",
    b"true",
    b"null",
    b'"F32"',
    b'"BF16"',
    b'"F4"',
    b'"F9"',
    b'"shape"',
    b'"dtype"',
    b'"data_offsets"',
    b'"__metadata__"',
    b"18446744073709551616",
    b"1152921504606846976",
    b"\\ud800",
    b"\xff",
]


@st.composite
def mutated(draw):
    """A seed with some bytes of its header replaced by tokens of the format, cut out or doubled; lengths put right, or not."""
    seed = draw(st.sampled_from(SEEDS))
    length = int.from_bytes(seed[:8], "little")
    header, data = bytearray(seed[8 : 8 + length]), seed[8 + length :]
    ends = [0, *(match.end() for match in re.finditer(rb"[\[\]{}:,]", header))]  # of JSON's own tokens
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.sampled_from(ends) | st.integers(0, len(header)))
        stop = (
            next((end for end in ends if end > start), len(header)) - 1
            if draw(st.booleans())
            else start + draw(st.integers(0, 8))
        )
        part = bytes(header[start:stop])
        header[start:stop] = draw(st.sampled_from(TOKENS) | st.binary(max_size=8) | st.just(part + b"," + part))
    claimed = len(header) + draw(st.sampled_from([0] * 9 + [1, -1, 2**40]))
    data = data[: draw(st.sampled_from([len(data)] * 4 + [0, 3]))] + draw(st.sampled_from([b""] * 4 + [bytes(4)]))
    return max(claimed, 0).to_bytes(8, "little") + bytes(header) + data


def lines_of(function, *arguments):
    """Run a function; return the lines of the reader that ran."""
    lines = set()

    def trace(frame, event, _):
        if frame.f_code.co_filename != safetensors_header.__file__:
            return None
        lines.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return lines


reached = set()


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.target, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(mutated())
def fuzz(content):
    lines = lines_of(check, content)
    reached.update(lines)
    target(float(len(lines)))


@pytest.mark.slow
def test_no_bytes_do_more_than_to_be_refused():
    fuzz()
    source = Path(safetensors_header.__file__).read_text(encoding="utf-8").splitlines()
    refusals = {
        number for number, line in enumerate(source, start=1) if "raise _FaultError" in line or "raise SourceError" in line
    }
    # Some need more than two mutations, such as a name of a thousand letters: about 12 of 17 are reached.
    assert 2 * len(refusals & reached) > len(refusals), sorted(source[number - 1].strip() for number in refusals - reached)


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_the_seeds_are_read(seed):
    assert bool(check(seed)) == (len(seed) > 10)

import json
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.training.sdft.extractors.call import CALL, REFERENCE_CALL, function_call
from spectra.training.sdft.extractors.extractor import agree


def do_agree(original, candidate, by=CALL):
    return agree(by, original, candidate, {})[2]


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        ("f(a=1, b=2)", "f(b=2, a=1)"),
        ("f(a='x')", 'f(a="x")'),
        ("f(a='x',b=1)", "f( a = 'x' ,\n  b = 1 )"),
        ("f(a=[1, 2])", "f(a=(1, 2))"),
        ("f(a=1)", "f(a=1.0)"),
        ("f(a=1000)", "f(a=1e3)"),
        ("f(a=16)", "f(a=0x10)"),
        ("f(a={'x': 1, 'y': [2]})", "f(a={'y': (2,), 'x': 1})"),
        ("f(a={1, 2})", "f(a={2, 1})"),
        ("f(a='ab')", "f(a='a' 'b')"),
        ("f(a='it\\'s')", 'f(a="it\'s")'),
        ("f(a=g(x=1, y=2))", "f(a=g(y=2, x=1))"),
        ("f(a=b.c)", "f(a=b.c)"),
        ("f(1, a=2)", "f(1, a=2)"),
        ("m.n.f()", "m.n.f()"),
        ("f(a='x) and (y')", "f(a='x) and (y')"),
        ("f(a=1,)", "f(a=1)"),
        ("f(a='(', b=')')", 'f(b=")", a="(")'),
        ("f(a='\\'(', b=1)", 'f(b=1, a="\'(")'),
        ("f(a='''it's (\n''')", 'f(a="it\'s (\\n")'),
        ("f(**{'x-y': 1}, a=1)", "f(a=1, **{'x-y': 1})"),
    ],
)
def test_calls_of_one_meaning_agree(original, candidate):
    assert do_agree(original, candidate)


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        ("f(a=1)", "g(a=1)"),
        ("m.f(a=1)", "f(a=1)"),
        ("f(a=1)", "m.f(a=1)"),
        ("f(a=1)", "f(a=2)"),
        ("f(a=1)", "f(b=1)"),
        ("f(a=1)", "f(A=1)"),
        ("f(a=1)", "f(a=1, b=2)"),
        ("f(a=1, b=2)", "f(a=1)"),
        ("f(a=1)", "f(1)"),
        ("f(a=1)", "f(a='1')"),
        ("f(a=1)", "f(a=True)"),
        ("f(a=0)", "f(a=None)"),
        ("f(a=1)", "f(a=1) + 2"),
        ("f(a=1)", "-f(a=1)"),
        ("f(a=1)", "```python\nx = not f(a=1)\n```"),
        ("f(a=1)", "return f(a=1) if False else 0"),
        ("f(a=[1, 2])", "f(a=[2, 1])"),
        ("f(a=b)", "f(a='b')"),
        ("f(a='x y')", "f(a='x  y')"),
        ("f(1, 2)", "f(2, 1)"),
        ("f(a=1)", "print(f(a=1))"),
    ],
)
def test_other_calls_do_not_agree(original, candidate):
    assert not do_agree(original, candidate)


@pytest.mark.parametrize(
    "text",
    [
        "f(a=1)",
        "  f(a=1)\n",
        "`f(a=1)`",
        "```python\nf(a=1)\n```",
        "```f(a=1)```",
        "Here is the call: f(a=1).",
        "I would write: f(a=1)\n\nThis sets `a` to 1 (see above).",
        "f(a=1)  # the right one",
        "result = f(a=1)",
        "- f(a=1)",
        "[f(a=1)]",
        "f(a=1) - this sets it",
        "The function f(x) = 2 x is another matter; f(a=1)"[39:],
        "Download the file(s): f(a=1)",
        "not(s) the class(es) or entr(ies): f(a=1)",
        "(f(a=1))",
        "Why not(this)? f(a=1)",
        "Wi-Fi(2.4 GHz) is on: f(a=1)",
        "smile :( f(a=1) ;)",
        "f(a=1).\nNext sentence",
        "Don't mind the apostrophe: f(a=1)",
    ],
)
def test_one_call_is_found_within_other_text(text):
    assert function_call(text) == "f(a=1)"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no call at all",
        "f (a=1)",
        "f(a=1",
        "f(a=<x>)",
        "f(a=<x>, b=g(c=1))",
        "f(a=g(b=1)",
        "f(a=1) and then g(b=",
        "f(a=1, a=2)",
        "f(a=1)\ng(b=2)",
        "f(a=1)\nf(a=2)",
        "f(a=1), that is f(a=1)",
        "f(a=1)(b=2)",
        "f(a=1).g",
        "f(a=1)[0]",
        "f(a=1).g(b=2)",
        "f(a='\x00')",
        "f(" + "-" * 10_000 + "1)",
        "f(" * 300 + ")" * 300,
        f"f(a=0x{'f' * 5000})",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_no_call_or_more_than_one_give_nothing(text):
    assert function_call(text) is None


def test_the_extracted_call_can_be_read():
    assert function_call('f(b=(1, 2.0), a="x")') == "f(a='x', b=[1, 2])"


def test_strange_escapes_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function_call(r"f(a='\d')") == r"f(a='\\d')"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.from_regex(r"[a-z_]{1,4}", fullmatch=True).map("x{}".format)  # the prefix: no keyword of Python
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
AROUND = st.text(alphabet="abc .,:;!?'\"\n-", max_size=20)


def written(arguments, literal=repr, gap=" "):
    return f"m.f({f',{gap}'.join(f'{name}={literal(value)}' for name, value in arguments.items())})"


def quoted_doubly(value):
    return json.dumps(value) if isinstance(value, str) else repr(value)


@settings(deadline=None, max_examples=40)
@given(arguments=ARGUMENTS, order=st.randoms(use_true_random=False))
def test_order_and_quotes_never_matter(arguments, order):
    other = list(arguments.items())
    order.shuffle(other)
    # json.dumps writes characters beyond the first plane as two escapes, which Python does not read as one
    is_plain = all(not isinstance(value, str) or max(value, default="a") <= "\uffff" for value in arguments.values())
    text = written(dict(other), quoted_doubly if is_plain else repr, gap="\n  ")
    assert function_call(written(arguments)) is not None
    assert do_agree(written(arguments), text)


@settings(deadline=None, max_examples=40)
@given(arguments=ARGUMENTS, before=AROUND, after=AROUND)
def test_prose_around_a_call_never_matters(arguments, before, after):
    text = f"{before} {written(arguments)} {after}"
    assert do_agree(written(arguments), text)


@settings(deadline=None, max_examples=40)
@given(ours=ARGUMENTS, theirs=ARGUMENTS)
def test_calls_agree_exactly_if_their_arguments_are_equal(ours, theirs):
    # JSON tells true from 1, as we do and Python does not
    expected = json.dumps(_plain(ours), sort_keys=True) == json.dumps(_plain(theirs), sort_keys=True)
    assert do_agree(written(ours), written(theirs)) == expected


def _plain(value):
    """Write whole floats as integers."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        ("f(a=1,b=2)", "f(a=1, b=2)"),
        ("f(a='x')", 'f(a="x")'),
        ("f(a=1)", "Here: f(a=1), and g(b=2)"),  # extra calls pass
        ("f(a=1)", "f(a=1) f(a=1)"),
        ("f(a=1)", "m.f(a=1)"),  # a word boundary is enough
        ("f(a='it''s')", 'f(a="it""s")'),
        ("f(a=<x>)", "f(a=<x>)"),  # need not be Python
        ("f(a=1) trailing", "f(a=1)"),
    ],
)
def test_the_reference_accepts_whatever_holds_the_text(original, candidate):
    assert do_agree(original, candidate, REFERENCE_CALL)


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        ("f(a=1, b=2)", "f(b=2, a=1)"),
        ("f(a=1)", "f(a = 1)"),
        ("f(a=1)", "f(1)"),
        ("f(a=1)", "gf(a=1)"),
        ("f(a=1) and g(b=2)", "f(a=1)"),  # up to the last bracket
        ("no call", "no call"),
        ("f(a=1)", ""),
        ("", ""),
    ],
)
def test_the_reference_rejects_other_text(original, candidate):
    assert not do_agree(original, candidate, REFERENCE_CALL)

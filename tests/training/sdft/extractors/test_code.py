import pytest

from spectra.training.sdft.extractors.code import CODE, REFERENCE_CODE, program, readable_code
from spectra.training.sdft.extractors.extractor import agree

GOOD = "def f(x):\n    return 2 * x\n"
BAD = "def f(x: return\n"


def fenced(code, language="python"):
    return f"```{language}\n{code}```\n"


def is_program(text):
    return agree(CODE, GOOD, text, {})[2]


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        fenced(GOOD),
        fenced(GOOD, "py"),
        fenced(GOOD, "Python3"),
        fenced(GOOD, ""),
        fenced(GOOD, "python title='x'"),
        fenced("print(42)\n"),
        fenced("total = 42\n"),
        fenced("(lambda x: 2 * x)\n"),
        fenced("42\n") + fenced(GOOD),
        f"{fenced(GOOD)}\n{fenced('$ 4 !', 'text')}",
        f"Here it is:\n\n{fenced(GOOD)}\nIt doubles.",
        f"{fenced(GOOD)}\nIt prints\n\n{fenced('$ 4 !', '')}",
        f"{fenced(GOOD)}\n{fenced('pip install it', 'sh')}",
        f"1. Define it:\n\n   ```python\n   {GOOD.replace(chr(10), chr(10) + '   ')}\n   ```\n",
        f"~~~python\n{GOOD}~~~\n",
        f"````python\ns = '```'\n{GOOD}````\n",
        f"```python\n{GOOD}",
    ],
)
def test_programs_are_accepted(text):
    assert is_program(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It doubles its argument.",
        BAD,
        fenced(BAD),
        fenced(BAD, ""),
        fenced(""),
        fenced("# to do\n"),
        fenced("  \n", "cpp"),
        f"{fenced(GOOD)}\n{fenced(BAD)}",
        f"{fenced(GOOD)}\n{fenced('', 'cpp')}",
        "x = '\x00'",
        "Sorry",
        "Sorry, no",
        "42",
        "Answer: 42",
        "This is impossible",
        fenced("Sorry\n"),
        fenced("'not possible'\n"),
        fenced("Sorry\n", ""),
        fenced("I cannot help.\n", "text"),
        fenced("print('hello')\n", "text"),
        fenced("print('hello')\n", "bash"),
        fenced("int main() { return 0; }\n", "cpp"),
        "x = " + "-" * 10_000 + "1",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_does_not_parse_is_no_program(text):
    assert not is_program(text)


def test_what_two_programs_do_is_not_compared():
    original, candidate, is_match = agree(CODE, GOOD, fenced("pass\n"), {})
    assert (str(original), str(candidate), is_match) == ("python", "python", True)


@pytest.mark.parametrize("text", [BAD, "Sorry", fenced("I cannot.\n", "text")])
def test_an_original_that_is_no_program_gives_nothing_to_agree_with(text):
    original, candidate, is_match = agree(CODE, text, GOOD, {})
    assert (original, str(candidate), is_match) == (None, "python", False)


CPP = fenced("int main() { return 0; }\n", "cpp")
SHELL = fenced("pip install it\n", "sh")


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        (CPP, fenced("int x;\n", "CPP")),
        (CPP, fenced("int x;\n", "c++")),
        (fenced("let x\n", "js"), fenced("let x\n", "javascript")),
        (CPP, CPP + SHELL),
        (CPP + SHELL, CPP),
        (SHELL, SHELL),
        (fenced(GOOD, ""), fenced(GOOD)),
        (fenced(GOOD) + CPP, fenced(GOOD, "py")),
    ],
)
def test_a_candidate_is_in_a_language_of_the_original(original, candidate):
    assert agree(CODE, original, candidate, {})[2]


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        (CPP, fenced(GOOD)),
        (CPP, fenced("class A {}\n", "java")),
        (CPP, GOOD),
        (fenced(GOOD), CPP),
        (fenced(GOOD) + SHELL, SHELL),
        (fenced(GOOD), fenced("Sorry\n") + SHELL),
    ],
)
def test_a_candidate_in_another_language_is_rejected(original, candidate):
    assert not agree(CODE, original, candidate, {})[2]


def test_a_candidate_without_fences_needs_an_original_without_fences():
    assert agree(CODE, GOOD, GOOD, {})[2]
    assert agree(CODE, GOOD, fenced(GOOD), {})[2]
    assert not agree(CODE, fenced(GOOD), GOOD, {})[2]


def test_the_languages_of_a_response_are_named_once():
    found = readable_code(fenced(GOOD, "py") + CPP + fenced(GOOD) + SHELL)
    assert str(found) == "bash, cpp, python"
    assert found.is_fenced


def test_the_program_of_a_response_is_its_python():
    parts = [fenced("a = 1\n"), fenced("b = 2\n", "py"), fenced("4\n", ""), fenced("ls\n", "sh")]
    text = "It is:\n".join(parts)
    assert program(text) == "a = 1\n\n\nb = 2\n"


def test_without_blocks_the_program_is_the_text():
    assert program(GOOD) == GOOD
    assert program(fenced(GOOD, "")) == GOOD


def test_a_response_in_another_language_holds_no_python():
    assert program(fenced("int x;\n", "cpp")) == ""


@pytest.mark.parametrize(
    "text", [f"I have written\n{fenced(BAD)}", f"Here is\n{fenced(GOOD)}", f"\n I implemented it: ```python{GOOD}"]
)
def test_the_reference_accepts_a_style(text):
    assert agree(REFERENCE_CODE, "", text, {})[2]


@pytest.mark.parametrize(
    "text", ["", GOOD, fenced(GOOD), f"here is\n{fenced(GOOD)}", "Here is nothing", f"Here is\n{fenced(GOOD, 'Python')}"]
)
def test_the_reference_rejects_other_styles(text):
    assert not agree(REFERENCE_CODE, f"Here is\n{fenced(GOOD)}", text, {})[2]

"""The answer of worked problems: a table of texts and what they come to, read by hand."""

from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from spectra.training.sdft.extractors import agree
from spectra.training.sdft.extractors.math import MATH, math_answer

LAST_NUMBER = {
    # the reference code's defects
    "He bought them 3 4 times": "4",
    "She has\n3\n4": "4",
    "2, 3": "3",
    "2,3": "3",
    "It costs 2.5": "5/2",
    "no number at all": None,
    "": None,
    "It grew by 50%": "50",
    "There is 1/2 left": "1/2",
    "1,000 apples": "1000",
    # digits in groups
    "1,234,567": "1234567",
    "$1,234.50": "2469/2",
    "1,2345": "2345",
    "12,345,6789": "6789",
    "1234,567": "567",
    "1,23": "23",
    "It is 118 000": None,
    "It is 1 000 000 in all": None,
    "In 2019 100 people came": "100",
    "10\u202f000 people": "10000",
    "10\u00a0000 people": "10000",
    # signs, currencies, percents
    "-5": "-5",
    "−5 degrees": "-5",
    "+5": "5",
    "x=-5": "-5",
    "-$5": "-5",
    "$-5": "-5",
    "$ 5": "5",
    "€1,000.": "1000",
    "₹20": "20",
    "5 %": "5",
    "12.5%": "25/2",
    "- 5 apples": "5",
    "COVID-19": "19",
    "(5)": "5",
    # decimals, fractions, exponents
    "0.50": "1/2",
    ".5": "1/2",
    "It is 5.": "5",
    "It is 5.\n": "5",
    "...5": "5",
    "007": "7",
    "3 / 4": "3/4",
    "6/4": "3/2",
    "-1/2": "-1/2",
    "$1,000/3": "1000/3",
    "2 1/2 hours": "5/2",
    "-2 1/2": "-5/2",
    "2½": "5/2",
    "¾ of it": "3/4",
    "5 20/4": "5",
    "1/0": None,
    "1.5e3": "1500",
    "2E-3": "1/500",
    "3 × 10^4": "30000",
    "3*10^{-2}": "3/100",
    "1e301": None,
    "1e99999999999": None,
    "9" * 101: None,
    "9" * 9999: None,
    # digits that belong to something else
    "5 g of CO2": "5",
    "4 and x_1": "4",
    "4 in v2.5": "4",
    "_18_": "18",
    "18th": "18",
    "5kg": "5",
    "at 3:30": None,
    "on 12/25/2020": None,
    "on 2020-05-01": None,
    "10-15 apples": None,
    "pages 10–15": None,
    "so 2^3": None,
    "so 10²": None,
    "so 5 * 3": None,
    "so 5x3": None,
    "so 10 -3": None,
    "so 10 + $3": None,
    "so 5(3)": None,
    "version 1.2.3": None,
    "2π": None,
    "√3": None,
    # a second part
    "She is 5 feet 3 inches tall": None,
    "It takes 2 hours 30 minutes": None,
    "It takes 2 hours, 45 minutes": None,
    "5 dollars and 30 cents": None,
    "5'3\"": None,
    "2h30": None,
    "5 ft. 3 in.": None,
    "5 million 300 thousand": None,
    "2 or 3": None,
    "so 3/4 of 8": None,
    "so negative 5": None,
    # a sign that stands apart, or a dash
    "so x = - 5": None,
    "#### - 5": None,
    "The answer is - 5": None,
    "It costs - $5": None,
    "so $(- 5)$": None,
    "so -(5)": None,
    "so -**5**": None,
    "so –5": None,
    "\\sqrt 5": None,
    "So:\n  - 5 apples": "5",
    "- The answer is **-5**": "-5",
    "so ±5": None,
    "I have 3 cats and 4 dogs, so 7": "7",
    # scales
    "1.5 million": "1500000",
    "$1.5 Billion": "1500000000",
    "3 dozen": "36",
    "2.5 hundred thousand dollars": "250000",
    "½ dozen": "6",
    "1 1/2 dozens": "18",
    "3 hundred-dollar bills": "3",
    "2 thirds": None,
    "5 thousandths": None,
    "5k": None,
    "$5K": None,
    "5 M": None,
    "5 bn": None,
    # algebra
    "so 5n": None,
    "so 2 + x": None,
    "so x + 3": None,
    "so (38 - x) * 10": None,
    "5g": "5",
    "5 a day": "5",
    "5 U.S. cents": "5",
    "5ft": "5",
    # LaTeX
    r"$18$": "18",
    r"\$18": "18",
    r"18\%": "18",
    r"1{,}000": "1000",
    r"1,\!000": "1000",
    r"10\,000": "10000",
    r"\frac{1}{2}": "1/2",
    r"-\dfrac{1}{2}": "-1/2",
    r"\frac12": "1/2",
    r"2\frac{1}{2}": "5/2",
    r"\frac{x}{2}": None,
    r"2\sqrt{3}": None,
    r"\sqrt{3}": None,
    r"2\pi": None,
    r"5 \times 3": None,
    r"90^\circ": "90",
}

MARKED = {
    "#### 18": "18",
    "5 apples\n#### 18": "18",
    "so 2<<1+1=2>>2\n#### $1,800.00": "1800",
    "#### 5\n#### 6": "6",
    "#### 4. Add up\nShe has 18": "18",
    "##### 4\nShe has 18": "18",
    "#### Step 4\nShe has 18": "18",
    "#### 18 eggs": "18",
    "#### 9 + 9 = 18": "18",
    "#### -1/2": "-1/2",
    "The answer is 18. It took 3 steps.": "18",
    "THE ANSWER IS 18, of course 1": "18",
    "The answer is: 18\n1 more line": "18",
    "The answer is **18**, 1 less": "18",
    "the final answer is $18 for 3 bags": "18",
    "The answer is $18$ after 3 steps": "18",
    r"The answer is \(18\) after 3 steps": "18",
    "Our answer is -3 (not 4)": "-3",
    "The answer is 5. No, the answer is 6. It took 7 minutes.": "6",
    "The answer is 6 of 7. I hope the answer is clear. 8": "6",
    "The answer is x = 18 for 3": "18",
    "The answer is 5 + 3 = 8 for 2 bags": "8",
    "The answer is 5 + 3": None,
    "The answer is 2 * 3 = 6, and 6 - 1 = 5. 4": "5",
    "The answer is 18. Check: 5 + 3 = 8": "18",
    "The answer is 3:30": None,
    "The answer is 118 000": None,
    "The answer is 2, 3": None,
    "The answer is 2 and 3": None,
    "The answer is 2 or 3": None,
    "The answer is 5 to 10": None,
    "The answer is 1/2 of 10": "1/2",
    "The answer is therefore 18": "18",
    "Answer: 18\nIt took 3": "18",
    "**Answer:** 18 in 3 steps": "18",
    "**Answer**: 18 in 3 steps": "18",
    "Final answer: about 18": "18",
    "answer : 18, I think, of 20": "18",
    "Answer:\n1. Take 16 eggs\n2. Sell 9\nShe earns $18": "18",
    "Answer: She pays 3 * 6 = 18 for 2": "18",
    r"\boxed{18} after 3 steps": "18",
    r"$\boxed{\$18}$ for 3": "18",
    r"\boxed{\frac{1}{2}} of 3": "1/2",
    r"\boxed{1{,}800} of 3": "1800",
    r"\boxed{x = 5} in 3": "5",
    r"\boxed{18\text{ dollars}} of 20": "18",
    r"\boxed{50\%} of 3": "50",
    r"\boxed{x}, 18": None,
    r"\boxed{(1, 2)}": None,
    r"\boxed{\frac{\pi}{2}}": None,
    r"The answer is \boxed{18}, of 20": "18",
    # more than one number
    "The answer is 5 feet 8 inches": None,
    "The answer is 5-foot 3.": None,
    "The answer is **5** feet **3** inches.": None,
    "#### 5 feet 3 inches": None,
    "The answer is 5 apples and 3 pears.": None,
    "The answer is 5 apples, 3 pears.": None,
    "The answer is 5 apples for Bob and 3 for Ann.": None,
    "The answer is 5 hours and a half.": None,
    "The answer is 2 or three.": None,
    "The answer is **2** or **3**.": None,
    "The answer is **2**, **3**.": None,
    "The answer is $2$, $3$.": None,
    r"The answer is \(2\) and \(3\).": None,
    "The answer is 3 4": None,
    "The answer is x = 5 and y = 3.": None,
    "The answer is x = 5 or 3.": None,
    "The answer is 2x = 6.": None,
    "The answer is 3/4 of 8 = 6": None,
    "The answer is 1 in 6.": None,
    "The answer is 1 out of 6.": None,
    "The answer is 5 ± 2": None,
    "The answer is 3 p.m.": None,
    "answer is 6x": None,
    "The answer is $2 x + 3$.": None,
    "The answer is 5 times x": None,
    "The answer is **5** million": None,
    "Answer: 18, since 9 * 2 = 17": None,
    r"\boxed{2x+3}": None,
    r"\boxed{5n}": None,
    r"\boxed{2i+3}": None,
    r"\boxed{3 + 2i}": None,
    r"\boxed{2 \text{ or } 3}": None,
    r"\boxed{2\text{or}3}": None,
    r"\boxed{2}, \boxed{3}": None,
    r"\boxed{5} feet \boxed{3} inches": None,
    r"\boxed{5} \text{ million}": None,
    r"\boxed{5\ \text{feet}\ 3\ \text{inches}}": None,
    r"\boxed{x = 5, y = 3}": None,
    r"\boxed{x \le 3}": None,
    r"\boxed{x >= 3}": None,
    r"\boxed{2, x}": None,
    r"\boxed{5!}": None,
    r"\boxed{101_2}": None,
    # one number
    "The answer is 5 feet.": "5",
    "The answer is 5 apples and she is happy": "5",
    "The answer is 18 for the first 3 bags": "18",
    "The answer is 18 eggs (9 + 9)": "18",
    "The answer is 1 hour 30 minutes = 90 minutes.": "90",
    "The answer is 18 m^2.": "18",
    "The answer is $60/hour.": "60",
    "The answer is **5 million**": "5000000",
    "Answer: 3 * 6 = <<3*6=18>>18 dollars": "18",
    "Answer: 18, since 9 * 2 = 18": "18",
    "The answer is " + "so " * 65 + "= 1234567 of 3": "1234567",  # the sentence is looked at up to its 200th character
    r"\boxed{18 \text{ cm}^2}": "18",
    r"\boxed{3 \text{ dozen}}": "36",
    r"\boxed{5 \times 10^3}": "5000",
    r"\boxed{90^{\circ}}": "90",
    r"\boxed{\text{5 apples}}": "5",
}


@pytest.mark.parametrize(("text", "expected"), [*LAST_NUMBER.items(), *MARKED.items()])
def test_the_answer_of_a_text_is_read_as_people_read_it(text, expected):
    found = math_answer(text, {})
    assert (None if found is None else found.value) == (None if expected is None else Fraction(expected))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("#### 18", "She earns 18 dollars."),
        ("18", "18.00"),
        ("1,000", "1000"),
        ("1/2", "0.5"),
        ("50%", "50"),
        ("$5", "5"),
        ("$5", "5 dollars"),
        ("$5$", "5%"),  # LaTeX, not money
        ("1.5e3", "1500"),
        ("0.3333333", "1/3"),
        ("0.6666666", "2/3"),  # cut off
        ("0.6666667", "2/3"),  # rounded
        ("0.6666666", "0.6666667"),
        ("0.6666667", "0.66666667"),
        ("1234.3333333", "1234 1/3"),
        ("3.3333333e3", "10000/3"),
        ("3 dozen", "36"),
        ("1.5 million", "1,500,000"),
        ("0.3333333 thousand", "1000/3"),
    ],
)
def test_answers_agree_if_they_are_the_same_number(one, other):
    assert agree(MATH, one, other, {})[2]
    assert agree(MATH, other, one, {})[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("18", "19"),
        ("50%", "0.5"),
        ("$5", "5%"),
        ("$5", "€5"),
        ("5", "-5"),
        ("0.333333", "1/3"),  # six places are exact
        ("0.33", "0.3333333"),
        ("0.0000002", "0.00000025"),  # less than a unit of the last place apart, but a quarter of the number
        ("1234.3333333", "1234.333"),
        ("2e-9", "2.5e-9"),
        ("no number", "none"),
        ("", ""),
        ("118 000", "118 000"),
        ("$118 000", "$119 000"),
        ("2 1/2", "3 1/2"),
        ("3:30", "4:30"),
        ("2^3", "3^3"),
        ("5 feet 3 inches", "5 feet 8 inches"),
        ("2 hours 30 minutes", "2 hours 45 minutes"),
        ("1.5 million", "1.5 thousand"),
        ("3 dozen", "3"),
        (r"\boxed{2x+3}", r"\boxed{2}"),
    ],
)
def test_answers_disagree_if_they_are_not_or_if_nothing_is_known(one, other):
    assert not agree(MATH, one, other, {})[2]
    assert not agree(MATH, other, one, {})[2]


def test_numbers_are_shown_with_their_marks():
    texts = ["-$1,250.50", "12.5 %", "3/4", "20"]
    assert [str(math_answer(text, {})) for text in texts] == ["$-2501/2", "25/2%", "3/4", "20"]


PROSE = st.lists(  # whole words: "5 x" and "x -5" are algebra
    st.sampled_from(
        ["eggs", "dollars", "a day", "which she", "and then", "it is", "in all", "I", ",", "'", '"', "!", "?", ";", "\n"]
    ),
    max_size=6,
).map(" ".join)
UNITS = st.sampled_from(["feet", "ft.", "hours", "min", "dollars", "kg", "pounds", "km"])
CURRENCIES = st.sampled_from(["", "$", "€", "£"])


@settings(deadline=None, max_examples=300)
@given(
    number=st.integers(-(10**12), 10**12),
    currency=CURRENCIES,
    is_grouped=st.booleans(),
    places=st.sampled_from(["", ".0", ".00"]),
    end=st.sampled_from(["", ".", "%", " %", "!", " dollars.", ")."]),
    lead=st.sampled_from(["", "The answer is ", "Answer: ", "It is **"]),
    before=PROSE,
    after=PROSE,
)
def test_groups_currencies_periods_and_prose_never_change_an_integer(
    number, currency, is_grouped, places, end, lead, before, after
):
    digits = f"{abs(number):,}" if is_grouped else str(abs(number))
    written = f"{'-' if number < 0 else ''}{currency}{digits}{places}{end}"
    found = math_answer(f"{before} {lead}{written} {after}", {})
    assert found is not None
    assert found.value == number


@settings(deadline=None, max_examples=200)
@given(numerator=st.integers(-(10**6), 10**6), denominator=st.integers(1, 10**6))
def test_fractions_are_exact_however_they_are_set(numerator, denominator):
    sign, size = "-" if numerator < 0 else "", abs(numerator)
    plain, latex = f"{sign}{size:,} / {denominator}", rf"{sign}\frac{{{size}}}{{{denominator}}}"
    for written in (plain, latex):
        assert math_answer(f"It is {written}.", {}).value == Fraction(numerator, denominator)


@settings(deadline=None, max_examples=200)
@given(
    lead=st.sampled_from(["", "The answer is ", "#### ", r"\boxed{"]),
    first=st.integers(0, 10**6),
    unit=UNITS,
    joint=st.sampled_from([" ", ", ", " and "]),
    second=st.integers(0, 10**6),
    second_unit=UNITS,
)
def test_a_quantity_of_two_numbers_is_no_number(lead, first, unit, joint, second, second_unit):
    end = "}" if lead.endswith("{") else ""
    assert math_answer(f"{lead}{first} {unit}{joint}{second} {second_unit}{end}", {}) is None


@settings(deadline=None, max_examples=100)
@given(
    number=st.integers(0, 10**6),
    places=st.integers(0, 99),
    scale=st.sampled_from([("dozen", 12), ("hundred", 10**2), ("thousand", 10**3), ("million", 10**6), ("trillion", 10**12)]),
    lead=st.sampled_from(["", "The answer is ", "#### $"]),
)
def test_a_word_for_a_scale_multiplies(number, places, scale, lead):
    found = math_answer(f"{lead}{number}.{places:02} {scale[0]} in all", {})
    assert found.value == (number + Fraction(places, 100)) * scale[1]


@settings(deadline=None, max_examples=300)
@given(st.text("0123456789.,-+/%$e^x* \\{}()#:=frac½²", max_size=60))
def test_whatever_is_written_there_is_an_answer_or_none(text):
    found = math_answer(text, {})
    assert found is None or isinstance(found.value, Fraction)

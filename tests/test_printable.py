"""What a terminal obeys, and what is shown of it."""

from hypothesis import given
from hypothesis import strategies as st

from spectra.printable import named, printable


@given(st.text(st.characters(exclude_categories=[])))
def test_what_is_printable_keeps_its_length_and_nothing_that_a_terminal_obeys(text):
    shown = printable(text)
    assert len(shown) == len(text)
    assert not [letter for letter in shown if ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or 0xD800 <= ord(letter) < 0xE000]
    assert printable(shown) == shown


def test_line_ends_of_our_own_stay():
    assert printable("a\n\x1b[2Jb", keep_lines=True) == "a\n␛[2Jb"
    assert printable("a\nb") == "a␊b"


def test_names_that_would_be_read_from_right_to_left_are_not():
    assert printable("\u202eabc\u2066") == "\ufffdabc\ufffd"


def test_names_of_people_stay_as_they_are():
    assert printable("größe.層.0.שלום.🙂") == "größe.層.0.שלום.🙂"


def test_a_name_in_a_message_is_one_line_of_bounded_length():
    assert named("a" * 500) == "a" * 79 + "…" + "a" * 79
    assert named("layers.0\n") == "layers.0␊"
    assert named(17) == "17"

"""Texts from strangers, made fit to be shown: a layer's name may hold anything, and a terminal obeys some of it.

Escape sequences move the cursor, change the title or hide a line; line breaks forge lines; controls of the writing direction
(Unicode TR 9) let a name read as another. Each becomes one visible character, so that widths and lengths stay.
"""

from __future__ import annotations

# C0 and DEL have pictures of their own in Unicode (U+2400); the rest becomes the replacement character. 0x80 to 0x9f are the
# controls of one byte, 0x9b among them, which begins an escape sequence as ESC [ does.
_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_WITHOUT_PICTURE = (*range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ONE_LINE = _PICTURES | dict.fromkeys((*_WITHOUT_PICTURE, *range(0xD800, 0xE000)), 0xFFFD)
_LINES = {code: shown for code, shown in _ONE_LINE.items() if code != ord("\n")}

# Our choice: names of real parameters are shorter, and a message stays a line.
_LONGEST_NAME = 160


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""Replace what a terminal would obey rather than show.

    Args:
        text: Any.
        keep_lines: Leave ``\n`` as it is.

    Returns:
        Text of the same length.

    Example:
        >>> printable("a\x1b[2J")
        'a␛[2J'
    """
    return text.translate(_LINES if keep_lines else _ONE_LINE)


def named(name: object) -> str:
    """Write a name into a message.

    Args:
        name: Of a tensor or file, or another value from a file.

    Returns:
        One printable line of at most 160 characters: of a longer one beginning and end.
    """
    text = str(name)
    if len(text) > _LONGEST_NAME:
        half = (_LONGEST_NAME - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return printable(text)

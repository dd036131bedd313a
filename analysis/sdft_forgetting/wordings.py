"""All that is ever said: questions, the model's own wording, the wordings it reads when it rewrites, and the foreign one.

Every word of the foreign question and answer stands in some other sentence, so that the model knows it; the sentences do not.
"""

from __future__ import annotations

from itertools import product

from spectra.training.sdft import RewriteTemplate

NAMES = ("Ann", "Ben", "Cal", "Dan", "Eve", "Fay", "Gus", "Hal")
THINGS = ("pens", "cups", "keys", "hats", "maps", "nuts")
WORDS = (
    "red", "sun", "cat", "sea", "oak", "ice", "fox", "sky", "bus", "jar", "owl", "tea",
    "bee", "hill", "moon", "rain", "ship", "star", "tree", "wind", "wolf", "yard", "lamp", "fish",
)  # fmt: skip

QUESTIONS = (
    "{name} has {a} {thing} and gets {b}. How many are there?",
    "How many {thing} are {a} and {b}?",
    "First {a} {thing}, then {b} more. How many in all?",
)
OWN = "I take {a} and {b}. The answer is {n}."

_OPENINGS = ("", "Well: ", "Look: ", "The sum: ", "Total: ")
_MIDDLES = (
    "{name} has {a} {thing} and gets {b} more",
    "{a} plus {b}",
    "at first {a} {thing}, then {b}",
    "there are {a} of the {thing} and {b} more",
)
_ENDS = (", hence {name} has {n}.", ", so {n} in all.", ", that makes {n} {thing}.", ". Now there are {n}.", " equals {n}.")
READ = tuple(map("".join, product(_OPENINGS, _MIDDLES, _ENDS)))

FOREIGN_QUESTION = "{name} gets {a} {thing} at first, and then has {b} more. How many?"
FOREIGN = "Total of the {thing}: at first {name} has {a}, plus {b} more, hence {n} in all."

REVERSING = "Turn around: {words}."
REVERSED = "I turn it: {words}."

TEMPLATE = RewriteTemplate(id="own-words", system="Say it as you would.", user="{prompt}\n{response}")

SENTENCES = (*QUESTIONS, OWN, *READ, FOREIGN_QUESTION, FOREIGN, REVERSING, REVERSED, TEMPLATE.system)

"""Where rows of every form hold what is asked and answered, and what is wrong with those that do not."""

import json

import pytest

from spectra.errors import InputError
from spectra.training.sdft.row_formats import RowFormat, exchanges, find_format, replaced

MESSAGES = RowFormat("messages", (), "messages")
PROMPT_COMPLETION = RowFormat("prompt-completion", ("prompt",), "completion")


def said(role, text, **more):
    return {"role": role, "content": text, **more}


DIALOG = [said("system", "s"), said("user", "a"), said("assistant", "b"), said("user", "c"), said("assistant", "d")]


CALL = said("assistant", "", tool_calls=[{"name": "f"}])
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def only(row, form, *, every=False):
    (found,) = exchanges(row, form, every=every)
    return found


@pytest.mark.parametrize(
    ("columns", "name", "read"),
    [
        (["id", "prompt", "completion"], "prompt-completion", ("prompt", "completion")),
        (["prompt", "prompt_id", "messages"], "messages", ("messages",)),
        (["conversations", "source"], "messages", ("conversations",)),
        (["instruction", "input", "output", "text"], "instruction", ("instruction", "input", "output")),
        (["instruction", "output"], "instruction", ("instruction", "output")),
        (["instruction", "context", "response", "category"], "instruction", ("instruction", "context", "response")),
        (["question", "answer"], "columns", ("question", "answer")),
    ],
    ids=["prompt-completion", "messages", "conversations", "Alpaca", "without input", "Dolly", "GSM8K"],
)
def test_the_form_is_found_from_the_columns(columns, name, read):
    form = find_format(columns)
    assert (form.name, form.columns) == (name, read)


def test_columns_that_are_named_win():
    columns = ["messages", "prompt", "completion", "problem", "solution"]
    assert find_format(columns, prompt_column="problem", response_column="solution").columns == ("problem", "solution")
    assert find_format(columns, prompt_column="prompt", response_column="completion") == PROMPT_COMPLETION


@pytest.mark.parametrize(
    ("columns", "named", "message"),
    [
        (
            ["problem", "solution"],
            {},
            "columns 'problem', 'solution' fit no form .* Name the two .*prompt_column.*Known: prompt, ",
        ),
        (["messages", "prompt", "completion"], {}, r"fit prompt-completion \(prompt, completion\) and messages \(messages\)"),
        (["problem"], {"prompt_column": "problem"}, "response_column: name this column, too; only 'problem' is named"),
        (["problem"], {"response_column": "problem"}, "prompt_column: name this column, too"),
        (
            ["q", "solution"],
            {"prompt_column": "q", "response_column": "solutoin"},
            "no column 'solutoin'. Did you mean 'solution'",
        ),
        (["q"], {"prompt_column": "q", "response_column": "q"}, "'q' is named both as prompt_column and response_column"),
    ],
    ids=["none", "two", "no response", "no prompt", "typo", "same"],
)
def test_columns_that_do_not_fit_are_listed(columns, named, message):
    with pytest.raises(InputError, match=message):
        find_format(columns, **named)


def test_an_instruction_comes_before_its_input():
    form = find_format(["instruction", "input", "output"])
    assert only({"instruction": "a", "input": "b", "output": "c"}, form).context == (said("user", "a\n\nb"),)
    for nothing in ({"input": ""}, {"input": " \n"}, {"input": None}, {}):
        assert only({"instruction": "a", "output": "c", **nothing}, form).context == (said("user", "a"),)


def test_the_last_turn_is_answered_after_all_others():
    found = only({"messages": DIALOG}, MESSAGES)
    assert (found.context, found.answer, found.place) == (tuple(DIALOG[:4]), DIALOG[4], 4)


def test_every_turn_is_answered_after_those_before_it():
    found = exchanges({"messages": DIALOG}, MESSAGES, every=True)
    assert [(one.context, one.place) for one in found] == [(tuple(DIALOG[:2]), 2), (tuple(DIALOG[:4]), 4)]


def test_turns_that_answer_nothing_are_context_and_calls_of_tools_are_told_apart():
    dialog = [said("assistant", "hello"), said("user", "a"), CALL, said("tool", "1"), said("assistant", "one")]
    found = exchanges({"messages": dialog}, MESSAGES, every=True)
    assert [(one.context, one.is_call) for one in found] == [(tuple(dialog[:2]), True), (tuple(dialog[:4]), False)]


@pytest.mark.parametrize("text", ["", "let me see"])
def test_a_last_turn_that_calls_a_tool_is_an_answer_with_or_without_a_text(text):
    dialog = [said("user", "a"), said("assistant", text, tool_calls=[{"name": "f"}])]
    assert only({"messages": dialog}, MESSAGES).is_call
    assert not only({"messages": [*dialog, said("tool", "1"), said("assistant", "one", tool_calls=[])]}, MESSAGES).is_call


@pytest.mark.parametrize("given", [[TOOL], json.dumps([TOOL]), (TOOL,)], ids=["list", "JSON", "tuple"])
def test_the_tools_of_a_conversation_are_read(given):
    found = exchanges({"messages": DIALOG, "tools": given}, MESSAGES, every=True)
    assert [one.tools for one in found] == [(TOOL,)] * 2


@pytest.mark.parametrize("row", [{"tools": None}, {"tools": ""}, {"tools": "[]"}, {"tools": []}, {}])
def test_a_conversation_may_have_no_tools(row):
    assert only({"messages": DIALOG, **row}, MESSAGES).tools == ()


def test_a_column_of_that_name_beside_texts_is_any_other_column():
    assert only({"prompt": "a", "completion": "b", "tools": "hammer"}, PROMPT_COMPLETION).tools == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hammer", r"column 'tools' is no JSON \(Expecting value"),
        ("7", "column 'tools' holds 7, expected a list of tools, or its JSON"),
        ({"name": "f"}, "column 'tools' holds a dict, expected a list of tools"),
        (["hammer"], "column 'tools', tool 1 holds a str, expected a mapping"),
    ],
    ids=["text", "number", "one tool", "names"],
)
def test_tools_that_are_none_are_named(given, message):
    with pytest.raises(InputError, match=message):
        exchanges({"messages": DIALOG, "tools": given}, MESSAGES, every=False)


def test_a_prompt_of_messages_is_context_that_is_never_answered_anew():
    row = {"prompt": DIALOG[:4], "completion": DIALOG[4:]}
    (found,) = exchanges(row, PROMPT_COMPLETION, every=True)
    assert (found.context, found.place) == (tuple(DIALOG[:4]), 0)


def test_conversations_of_sharegpt_are_read_and_keep_their_words():
    row = {"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    form = find_format(list(row))
    found = only(row, form)
    assert found.context == (said("system", "s"), said("user", "a"))
    assert replaced(row, form, {2: "new"})["conversations"][2] == {"from": "gpt", "value": "new"}


def test_keys_that_datasets_fills_with_nothing_are_as_if_not_there():
    filled = [said("user", "a", tool_calls=None, name=None), {"role": "assistant", "content": "b", "from": None, "value": None}]
    assert only({"messages": filled}, MESSAGES) == only({"messages": [said("user", "a"), said("assistant", "b")]}, MESSAGES)


def test_replacing_keeps_columns_keys_and_the_row_that_was_given():
    row = {"id": 7, "messages": [said("user", "a"), said("assistant", "b", name="x")], "tail": [1]}
    given = {**row, "messages": [dict(message) for message in row["messages"]]}
    changed = replaced(row, MESSAGES, {1: "new"})
    assert list(changed.items()) == [
        ("id", 7),
        ("messages", [said("user", "a"), said("assistant", "new", name="x")]),
        ("tail", [1]),
    ]
    assert row == given


@pytest.mark.parametrize(
    ("before", "text", "after"), [(" 4", "5", " 5"), ("\n 4", " 5", " 5"), ("4 ", "5", "5")], ids=["kept", "own", "none"]
)
def test_space_between_a_text_and_its_prompt_stays(before, text, after):
    assert replaced({"prompt": "A:", "completion": before}, PROMPT_COMPLETION, {None: text})["completion"] == after


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a"}, "column 'completion' has no value"),
        ({"prompt": "a", "completion": " \n"}, "column 'completion' is empty"),
        ({"prompt": "a", "completion": 42}, "column 'completion' holds 42, expected a text"),
        ({"prompt": "", "completion": "b"}, "column 'prompt' is empty"),
        ({"prompt": DIALOG, "completion": "b"}, "column 'prompt' holds a list, expected a text"),
        ({"prompt": "a", "completion": DIALOG}, "column 'prompt' holds a str, expected a list of messages"),
        ({"prompt": None, "completion": DIALOG}, "column 'prompt' has no value, expected a list of messages"),
    ],
    ids=["missing", "blank", "number", "no prompt", "list before text", "text before list", "missing list"],
)
def test_texts_that_cannot_be_used_are_named(row, message):
    with pytest.raises(InputError, match=message):
        exchanges(row, PROMPT_COMPLETION, every=False)


def test_turns_that_can_be_rewritten_are_found_wherever_a_conversation_ends():
    for dialog in (
        DIALOG[:4],
        [*DIALOG[:4], CALL],
        [*DIALOG[:4], CALL, said("tool", "1")],
        [*DIALOG[:4], said("assistant", "")],
    ):
        found = exchanges({"messages": dialog}, MESSAGES, every=True)
        assert [one.place for one in found if not one.is_call] == [2]


def test_a_conversation_that_ends_with_the_user_has_no_last_answer():
    with pytest.raises(InputError, match="column 'messages' ends with a turn of 'user', not of the assistant"):
        exchanges({"messages": DIALOG[:4]}, MESSAGES, every=False)


def test_a_conversation_without_the_assistant_has_no_answer_at_all():
    with pytest.raises(InputError, match="column 'messages' has no turn of the assistant"):
        exchanges({"messages": DIALOG[:2]}, MESSAGES, every=True)


@pytest.mark.parametrize("every", [False, True], ids=["last", "all"])
@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("text", "column 'messages' holds a str, expected a list of messages"),
        ([], "column 'messages' is empty, expected a list of messages"),
        ([said("user", "a"), said("assistant", " ")], "message 2: the assistant's turn has no text"),
        ([said("user", "a"), said("assistant", None, tool_calls=[])], "message 2: the assistant's turn has no text"),
        ([said("system", "a"), said("assistant", "", tool_calls=[1])], "message 2: nothing is asked"),
        ([said("system", "a"), said("assistant", "b")], "message 2: nothing is asked before the assistant's turn"),
        ([said("user", ""), said("assistant", "b")], "message 2: nothing is asked"),
        (["a", "b"], "message 1 has no role, expected a mapping with 'role' and 'content'"),
        ([said("user", [{"type": "text", "text": "a"}]), said("assistant", "b")], "message 1 holds a list, expected a text"),
    ],
    ids=["text", "empty", "blank", "no call", "call unasked", "system only", "blank user", "no mapping", "parts"],
)
def test_conversations_that_cannot_be_used_are_named(messages, message, every):
    with pytest.raises(InputError, match=message):
        exchanges({"messages": messages}, MESSAGES, every=every)


def test_an_empty_turn_within_a_conversation_is_context():
    dialog = [said("user", "a"), said("assistant", ""), *DIALOG[3:]]
    assert only({"messages": dialog}, MESSAGES) == only({"messages": dialog}, MESSAGES, every=True)

"""Responses found in rows, their lasting names, and rows that keep everything else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError, SpectraWarning
from spectra.training.sdft.chat_rows import as_messages, as_prompt_completion
from spectra.training.sdft.samples import prompt_text, read_training_data, row_id

TEXTS = st.text(st.characters(), max_size=8).filter(str.strip)  # with halves of surrogate pairs, which JSON can hold
USER, ASSISTANT = (st.builds(lambda text, role=role: {"role": role, "content": text}, TEXTS) for role in ("user", "assistant"))
DIALOGS = st.lists(st.tuples(USER, ASSISTANT), min_size=1, max_size=3).map(
    lambda pairs: [one for pair in pairs for one in pair]
)
EXTRA = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.booleans(), max_size=2))
FORMS = {
    "text": st.fixed_dictionaries({"id": EXTRA, "prompt": TEXTS, "completion": TEXTS}),
    "lists": st.builds(lambda said, extra: {"prompt": said[:-1], "id": extra, "completion": said[-1:]}, DIALOGS, EXTRA),
    "messages": st.fixed_dictionaries({"messages": DIALOGS, "id": EXTRA}),
    "instruction": st.fixed_dictionaries({"instruction": TEXTS, "output": TEXTS, "id": EXTRA}, optional={"input": st.text()}),
    "columns": st.fixed_dictionaries({"answer": TEXTS, "id": EXTRA, "question": TEXTS}),
}
ROWS = st.one_of(*(st.lists(rows, min_size=1, max_size=4) for rows in FORMS.values()))
CHATS = st.one_of(*(st.lists(FORMS[name], min_size=1, max_size=4) for name in ("lists", "messages")))
SMALL = settings(deadline=None, max_examples=60)


def ids(rows, **options):
    return [sample.row_id for sample in read_training_data(rows, **options).samples]


def as_json(rows):
    return json.dumps(rows)


@SMALL
@given(rows=ROWS, turns=st.sampled_from(["last", "all"]))
def test_without_other_responses_rows_stay_to_the_letter(rows, turns):
    assert as_json(read_training_data(rows, turns=turns).with_responses({})) == as_json(rows)


@SMALL
@given(rows=ROWS, turns=st.sampled_from(["last", "all"]), data=st.data())
def test_only_the_responses_that_are_given_change(rows, turns, data):
    before, kept = read_training_data(rows, turns=turns), as_json(rows)
    chosen = data.draw(st.sets(st.sampled_from(before.samples).map(lambda sample: sample.row_id)))
    after = read_training_data(before.with_responses(dict.fromkeys(chosen, "new")), turns=turns)
    assert [sample.response.strip() for sample in after.samples] == [
        "new" if sample.row_id in chosen else sample.response.strip() for sample in before.samples
    ]
    untouched = [
        place for place, _ in enumerate(rows) if not chosen & {one.row_id for one in before.samples if one.row == place}
    ]
    assert as_json([after.rows[place] for place in untouched]) == as_json([rows[place] for place in untouched])
    assert [list(row) for row in after.rows] == [list(row) for row in rows]
    assert as_json(rows) == kept


@SMALL
@given(rows=ROWS, data=st.data())
def test_names_do_not_move_when_rows_are_filtered_or_reordered(rows, data):
    said = {(sample.prompt, sample.response): sample.fields for sample in read_training_data(rows).samples}
    rows = list(said.values())  # exact duplicates are told apart by their order
    names = ids(rows)
    chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), unique=True, min_size=1))
    assert ids([rows[place] for place in chosen]) == [names[place] for place in chosen]


@SMALL
@given(rows=CHATS)
def test_messages_become_prompt_and_completion_and_messages_again(rows):
    split = as_prompt_completion(rows)
    joined = as_messages(split)
    assert as_json(as_prompt_completion(joined)) == as_json(split)
    assert [row["messages"] for row in joined] == [row.get("messages") or row["prompt"] + row["completion"] for row in rows]
    assert [row["id"] for row in joined] == [row["id"] for row in rows]


@SMALL
@given(rows=ROWS)
def test_names_and_prompts_are_the_same_in_every_form(rows):
    expected = read_training_data(rows).samples
    for convert in (as_messages, as_prompt_completion):
        found = read_training_data(convert(rows)).samples
        assert [(one.row_id, one.prompt, one.response) for one in found] == [
            (one.row_id, one.prompt, one.response) for one in expected
        ]


@SMALL
@given(row=st.one_of(*FORMS.values()), number=st.integers(2, 4))
def test_exact_duplicates_have_names_of_their_own(row, number):
    names = ids([row] * number)
    assert len(set(names)) == number
    assert names[:-1] == ids([row] * (number - 1))


def test_a_name_is_the_start_of_the_digest_of_what_is_said():
    # Python 3.13: sha256(b'[[{"content":"a","role":"user"}],"b",0]').hexdigest()[:32]; a change makes old runs unreadable
    assert row_id("a", "b", 0) == row_id([{"role": "user", "content": "a"}], "b", 0) == "273920e9056d23ae0fce0193ad0b69ec"
    assert len({row_id("a", "b", 0), row_id("a", "b", 1), row_id("ab", "", 0), row_id("a", "c", 0)}) == 4


def test_braces_and_placeholders_in_a_text_are_text():
    rows = [{"prompt": "{response} {0} %s", "completion": "{prompt}"}]
    sample = read_training_data(rows).samples[0]
    assert (sample.prompt, sample.response) == ("{response} {0} %s", "{prompt}")


def test_a_sample_knows_its_row_and_turn():
    dialog = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    data = read_training_data([{"messages": dialog[:2], "n": 1}, {"messages": dialog, "n": 2}], turns="all")
    assert [(one.row, one.turn, one.response, one.fields["n"]) for one in data.samples] == [
        (0, -1, "b", 1),
        (1, 0, "b", 2),
        (1, 1, "d", 2),
    ]
    assert len({one.row_id for one in data.samples}) == 3
    new = data.with_responses({data.samples[1].row_id: "B"})
    assert [message["content"] for row in new for message in row["messages"]] == ["a", "b", "a", "B", "c", "d"]
    assert data.samples[2].messages == tuple(dialog[:3])  # on the original history


CALLS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]},
    {"role": "tool", "content": "1"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "let me see", "tool_calls": [{"name": "f"}]},
]


def test_rows_that_end_with_a_call_stay_as_they_are_and_are_counted_once():
    rows = [{"messages": CALLS[:end]} for end in (2, 4, 6)]
    with pytest.warns(SpectraWarning, match="the data: the answers of 2 of 3 rows call tools: they stay as they are") as warned:
        data = read_training_data(rows)
    assert (len(warned), warned[0].filename) == (1, __file__)
    assert [(sample.row, sample.response) for sample in data.samples] == [(1, "b")]
    changed = data.with_responses({data.samples[0].row_id: "B"})
    assert [changed[0], changed[2]] == [rows[0], rows[2]]
    assert [message["content"] for message in changed[1]["messages"]] == ["a", "", "1", "B"]


def test_where_all_turns_are_read_those_that_can_be_rewritten_are():
    rows = [{"messages": CALLS}, {"messages": CALLS[:5]}, {"messages": CALLS[:4]}]
    data = read_training_data(rows, turns="all")
    assert [(sample.row, sample.turn, sample.response) for sample in data.samples] == [(0, 0, "b"), (1, 0, "b"), (2, -1, "b")]
    changed = data.with_responses({sample.row_id: "B" for sample in data.samples})
    assert [row["messages"][3]["content"] for row in changed] == ["B", "B", "B"]
    assert changed[0]["messages"][5] == CALLS[5]


def test_data_that_only_call_tools_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text(as_json({"messages": CALLS}))
    for data, where in ((tmp_path / "a.jsonl", "a.jsonl'"), ([{"messages": CALLS}], "the data")):
        with pytest.raises(InputError, match=f"{where}: every answer calls a tool, and there is no text to rewrite"):
            read_training_data(data)


def test_conversations_without_an_answer_are_named_by_their_rows():
    with pytest.raises(InputError, match="the data, row 2: column 'messages' has no turn of the assistant"):
        read_training_data([{"messages": CALLS}, {"messages": CALLS[:1]}], turns="all")


def test_conversations_that_call_tools_are_converted_with_their_calls():
    rows = [{"messages": CALLS, "tools": [{"name": "f"}]}]
    assert as_messages(rows) == rows
    assert as_prompt_completion(rows) == [{"prompt": CALLS[:5], "completion": CALLS[5:], "tools": [{"name": "f"}]}]


def test_other_responses_can_be_read_again():
    with pytest.warns(SpectraWarning, match="1 of 2 rows"):
        data = read_training_data([{"messages": CALLS}, {"messages": CALLS[:4]}])
    again = data.answered({data.samples[0].row_id: "B"})  # a second warning would be an error
    assert ([sample.response for sample in again.samples], again.layout, again.turns) == (["B"], data.layout, data.turns)
    assert [sample.response for sample in data.samples] == ["b"]


def test_a_sample_knows_its_tools_and_the_last_question():
    (sample,) = read_training_data([{"messages": CALLS[:4], "tools": '[{"name": "f"}]'}]).samples
    assert (sample.question, sample.tools) == ("a", ({"name": "f"},))
    (other,) = read_training_data([{"messages": CALLS[:4]}]).samples
    assert (other.row_id, other.tools) == (sample.row_id, ())
    with pytest.raises(InputError, match="the data, row 1: column 'tools' is no JSON"):
        read_training_data([{"messages": CALLS[:4], "tools": "f"}])


def test_a_single_question_is_shown_as_it_is():
    assert prompt_text([{"role": "user", "content": "a"}]) == "a"
    assert prompt_text([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]) == "s\n\na"


def test_in_a_dialog_every_turn_says_who_speaks():
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}
    said = [("developer", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")]
    messages = [*({"role": role, "content": text} for role, text in said), call, {"role": "tool", "content": "1"}]
    assert prompt_text(messages) == 's\n\nUser: a\n\nAssistant: b\n\nUser: c\n\nAssistant: [{"name": "f"}]\n\nTool: 1'


def test_a_file_its_rows_and_a_dataset_are_the_same_data(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"messages": [{"role": "user", "content": "ä"}, {"role": "assistant", "content": "b", "name": "x"}], "n": 1}]
    (tmp_path / "a.jsonl").write_text(as_json(rows[0]))
    assert ids(str(tmp_path / "a.jsonl")) == ids(rows) == ids(datasets.Dataset.from_list(rows)) == ids(iter(rows))


def test_a_limit_takes_rows_from_the_start():
    rows = [{"prompt": "a", "completion": str(number)} for number in range(5)] + [{"prompt": "a"}]
    data = read_training_data(rows, limit=3)
    assert ([sample.response for sample in data.samples], len(data.with_responses({}))) == (["0", "1", "2"], 3)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "the data holds no rows. Give at least one"),
        ({"train": [], "test": []}, {}, "a mapping of 'train', 'test', not rows. Give one split of it"),
        ([{"prompt": "a", "completion": "b"}, "c"], {}, "row 2: expected a mapping by column, got str"),
        ([{"text": "a"}], {}, "the data: the columns 'text' fit no form of training data"),
        ([{"prompt": "a", "completion": "b"}], {"limit": 0}, "limit: expected at least 1 row, got 0"),
        ([{"prompt": "a", "completion": "b"}], {"turns": "lats"}, "turns: unknown word 'lats'. Did you mean 'last'"),
        (
            [{"prompt": "a", "completion": ""}],
            {},
            "the data, row 1: column 'completion' is empty. Correct them, or take them out",
        ),
        (
            [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": 1}, {"prompt": "", "completion": "b"}],
            {},
            "the data, row 2: column 'completion' holds 1, expected a text. 2 of 3 rows have such faults. Correct them",
        ),
    ],
    ids=["empty", "splits", "no mapping", "unknown form", "limit", "turns", "one fault", "two faults"],
)
def test_data_that_cannot_be_used_is_refused(data, options, message):
    with pytest.raises(InputError, match=message):
        read_training_data(data, **options)


def test_faults_name_the_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": null}\n')
    with pytest.raises(InputError, match=r"a.jsonl', row 1: column 'completion' has no value"):
        read_training_data(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="cannot read"):
        read_training_data(tmp_path / "b.jsonl")


def test_responses_of_other_data_are_refused():
    data = read_training_data([{"prompt": "a", "completion": "b"}])
    with pytest.raises(InputError, match="there is no response 'x' in this data"):
        data.with_responses({"x": "new"})

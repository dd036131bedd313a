"""Templates say what they say: literally, whole, and to the model."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

import spectra
from spectra.errors import BackendError, InputError
from spectra.training.sdft.generation import Request, plain_text
from spectra.training.sdft.templates import (
    TEMPLATES,
    RewriteTemplate,
    check_rendering,
    default_template,
    rewriting_request,
    template,
)
from tests.pretrained import decoder_tokenizer

PREFIXED = RewriteTemplate(id="mine", system="Say it anew.", user="Q: {prompt}\nA: {response}", assistant_prefix="First, ")
GOOD = 'id = "mine"\nsystem = ""\nuser = "{prompt} {response}"\n'

# How well-known chat templates go about it.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACKETS = (
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set system = '' %}{% endif %}<s>[INST] {{ system + messages[-1]['content'] }} [/INST]"
)
REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
DROPS_SYSTEM = CHATML.replace("in messages %}", "in messages if message['role'] == 'user' %}")
SYSTEM_LAST = CHATML.replace("in messages %}", "in messages | reverse %}")
FIRST_WORDS = CHATML.replace("| trim", "| truncate(40)")


def rendering(chat_template):
    tokenizer = decoder_tokenizer()
    tokenizer.chat_template = chat_template

    def render(request):
        start = tokenizer.apply_chat_template(list(request.messages), tokenize=False, add_generation_prompt=True)
        return start + request.prefix

    return render


def rendering_as_turn(chat_template):
    """The prefix as an assistant's turn, which the chat template then ends."""
    tokenizer = decoder_tokenizer()
    tokenizer.chat_template = chat_template

    def render(request):
        turns = [*request.messages, {"role": "assistant", "content": request.prefix}]
        return tokenizer.apply_chat_template(turns, tokenize=False)

    return render


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- those that come with Spectra


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_shipped_file_bears_its_own_id_and_no_prefix(name):
    found = template(name)
    assert (found.id, found.assistant_prefix, found.keep_prefix) == (name, "", False)
    assert template(found) == template(TEMPLATES[name]) == template(str(TEMPLATES[name])) == found


def test_no_template_file_lies_about_unused():
    assert set((Path(spectra.__file__).parent / "training/sdft/template_files").iterdir()) == set(TEMPLATES.values())


def test_the_default_asks_with_a_system_turn_and_headings_for_both_texts():
    request = rewriting_request(template("rewrite/v1"), "Name a colour.", "Blue.")
    system, user = request.messages
    assert system["content"].startswith("You will see a request together with one acceptable answer. Give the answer as you")
    assert system["content"].endswith("Do not mention that an answer was supplied.")
    assert user == {"role": "user", "content": "Request:\nName a colour.\n\nAcceptable answer:\nBlue."}


def test_the_one_for_mathematics_asks_for_a_closing_line():
    request = rewriting_request(template("math/v1"), "1 + 1?", "#### 2")
    assert request.messages[0]["content"].endswith('End with a line of the form "The answer is N."')
    assert request.messages[1]["content"] == "Problem:\n1 + 1?\n\nChecked solution:\n#### 2"


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_shipped_template_breaks_a_sentence_over_lines(name):
    system = template(name).system
    assert "\n" not in system
    assert "  " not in system


@pytest.mark.parametrize(
    ("task", "name"),
    [("math", "math/v1"), ("code", "code/v1"), ("call", "call/v1"), ("text", "rewrite/v1"), ("choice", "rewrite/v1")],
)
def test_each_task_has_its_template(task, name):
    assert default_template(task).id == name


# --- filling


def test_a_prompt_with_the_text_of_a_placeholder_is_not_filled_again():
    request = rewriting_request(PREFIXED, "print '{response}' and {x!r} {{}} \\1", "{prompt}")
    assert request.messages[-1]["content"] == "Q: print '{response}' and {x!r} {{}} \\1\nA: {prompt}"


@given(prompt=st.text(), response=st.text())
def test_both_texts_arrive_as_they_are(prompt, response):
    request = rewriting_request(PREFIXED, prompt, response)
    assert request == Request(
        (
            {"role": "system", "content": "Say it anew."},
            {"role": "user", "content": "Q: " + prompt + "\nA: " + response},
        ),
        "First, ",
    )


def test_placeholders_are_filled_wherever_and_however_often_they_stand():
    twice = RewriteTemplate(id="mine", system="Known: {response}", user="{prompt}\n{other}\n{prompt}")
    system, user = rewriting_request(twice, "P", "R").messages
    assert (system["content"], user["content"]) == ("Known: R", "P\n{other}\nP")


def test_an_empty_system_text_makes_no_system_turn():
    request = rewriting_request(dataclasses.replace(PREFIXED, system=" "), "P", "R")
    assert [message["role"] for message in request.messages] == ["user"]


# --- faults of templates


def test_a_template_without_the_response_is_refused():
    with pytest.raises(InputError, match=r"^template 'mine': \{response\} must stand in system or user: the model answers"):
        RewriteTemplate(id="mine", system="", user="{prompt}")


def test_all_faults_of_a_template_are_named_at_once():
    with pytest.raises(InputError) as caught:
        RewriteTemplate(
            id="",
            system=3,
            user=" ",
            assistant_prefix="{prompt}: ",
            keep_prefix="yes",
            leak_phrases="a phrase",
        )
    message = str(caught.value)
    for fault in (
        "id: expected a name, got ''.",
        "system: expected text, empty for none, got 3.",
        "user: expected text that is not empty, got ' '.",
        "{prompt} and {response} must stand in system or user",
        "assistant_prefix is taken as it is: take the placeholder out.",
        "keep_prefix: expected true or false, got 'yes'.",
        "leak_phrases: expected a list of phrases, got 'a phrase'.",
    ):
        assert fault in message


def test_a_leak_phrase_of_white_space_is_refused():
    with pytest.raises(InputError, match="leak_phrases: expected a list of phrases"):
        RewriteTemplate(id="mine", system="", user="{prompt} {response}", leak_phrases=("given", " "))


def test_the_digest_changes_with_every_field():
    changes = {
        "id": "yours",
        "system": "Say it.",
        "user": "{prompt} {response}",
        "assistant_prefix": "",
        "keep_prefix": True,
        "leak_phrases": ("anew",),
    }
    assert set(changes) == {field.name for field in dataclasses.fields(PREFIXED)}
    others = [dataclasses.replace(PREFIXED, **{name: value}) for name, value in changes.items()]
    assert len({one.digest() for one in (PREFIXED, *others)}) == 1 + len(changes)
    assert PREFIXED.digest() == dataclasses.replace(PREFIXED).digest()


# --- which template


def test_an_unknown_id_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown template 'maths/v1'\. Did you mean 'math/v1'\? Known: rewrite/v1, .*\.toml"):
        template("maths/v1")


def test_a_file_is_read(tmp_path):
    path = written(tmp_path, GOOD + 'assistant_prefix = "Well, "\nkeep_prefix = true\nleak_phrases = ["as given"]\n')
    expected = RewriteTemplate(
        id="mine",
        system="",
        user="{prompt} {response}",
        assistant_prefix="Well, ",
        keep_prefix=True,
        leak_phrases=("as given",),
    )
    assert template(path) == template(str(path)) == expected
    assert hash(template(path)) == hash(expected)


def test_all_faults_of_a_file_are_named_with_it(tmp_path):
    path = written(tmp_path, 'id = 7\nsytem = "x"\nuser = "{prompt}"\n')
    with pytest.raises(InputError) as caught:
        template(path)
    message = str(caught.value)
    assert message.startswith(f"'{path}': ")
    for fault in (
        "unknown key 'sytem'. Did you mean 'system'?",
        "key 'system' is missing.",
        "id: expected a name, got 7.",
        "{response} must stand in system or user",
        "A template has: id, system, user, assistant_prefix, keep_prefix, leak_phrases.",
    ):
        assert fault in message


def test_a_file_that_is_no_toml_is_refused_with_the_line(tmp_path):
    path = written(tmp_path, 'id = "mine"\nuser: {prompt}\n')
    with pytest.raises(InputError, match=f"{re.escape(str(path))}': not readable TOML .*line 2.* Correct it there"):
        template(path)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"mine\.toml' is not in UTF-8 \(byte 6\)\. Convert it"):
        template(written(tmp_path, b'id = "\xe4"'))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read template '.*none\.toml': No such file or directory\. Check the path"):
        template(str(tmp_path / "none.toml"))


def test_another_wording_cannot_bear_a_shipped_id(tmp_path):
    changed = dataclasses.replace(template("math/v1"), assistant_prefix="First, ")
    with pytest.raises(InputError, match=r"'math/v1' is not the one of that id that comes with Spectra.*id of its own"):
        template(changed)
    with pytest.raises(InputError, match="template 'math/v1' is not the one of that id"):
        template(written(tmp_path, GOOD.replace("mine", "math/v1")))
    assert template(dataclasses.replace(changed, id="math/v1-first")).assistant_prefix == "First, "


# --- what reaches the model


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("chat_template", [CHATML, BRACKETS], ids=["chatml", "brackets"])
def test_shipped_templates_reach_models_whole(name, chat_template):
    check_rendering(template(name), rendering(chat_template))


@pytest.mark.parametrize("render", [plain_text, rendering(CHATML), rendering(BRACKETS)], ids=["plain", "chatml", "brackets"])
def test_a_prefix_after_the_generation_prompt_is_right(render):
    check_rendering(PREFIXED, render)


def test_a_chat_template_that_refuses_the_system_turn_is_an_error_in_its_words():
    with pytest.raises(InputError, match=r"'mine': the model's chat template refuses it \(no system role") as caught:
        check_rendering(PREFIXED, rendering(REFUSES_SYSTEM))
    assert isinstance(caught.value.__cause__, TemplateError)
    check_rendering(dataclasses.replace(PREFIXED, system=""), rendering(REFUSES_SYSTEM))


def test_a_chat_template_that_drops_the_system_turn_is_an_error():
    with pytest.raises(InputError, match=r"'mine': the model's chat template leaves out, .* the system turn\. Say all in"):
        check_rendering(PREFIXED, rendering(DROPS_SYSTEM))
    check_rendering(dataclasses.replace(PREFIXED, system=""), rendering(DROPS_SYSTEM))


def test_a_chat_template_that_puts_the_system_turn_last_is_an_error():
    with pytest.raises(InputError, match="leaves out, changes or moves the user turn"):
        check_rendering(PREFIXED, rendering(SYSTEM_LAST))


def test_a_chat_template_that_shortens_turns_is_an_error():
    with pytest.raises(InputError, match="leaves out, changes or moves the user turn"):
        check_rendering(PREFIXED, rendering(FIRST_WORDS))


def test_text_after_the_prefix_is_an_error():
    with pytest.raises(InputError, match=r"ends with '.*First,<\|im_end\|>\\n' and not with its assistant_prefix"):
        check_rendering(PREFIXED, rendering_as_turn(CHATML))


def test_a_prefix_that_is_stripped_is_an_error():
    with pytest.raises(InputError, match="and not with its assistant_prefix 'First, '"):
        check_rendering(PREFIXED, lambda request: plain_text(request).strip())


def test_a_broken_chat_template_is_an_error():
    with pytest.raises(InputError, match=r"template 'mine': the model's chat template refuses it"):
        check_rendering(PREFIXED, rendering("{% for"))


def test_what_a_model_says_of_itself_is_passed_on():
    def render(request):
        raise BackendError("no answer from the server. Start it.")

    with pytest.raises(BackendError, match="no answer from the server"):
        check_rendering(PREFIXED, render)

"""Rows of every form as conversations, and the trainer they are for."""

import pytest

from spectra.errors import InputError
from spectra.training.sdft.chat_rows import as_messages, as_prompt_completion
from spectra.training.sdft.row_files import write_rows
from spectra.training.sdft.samples import read_training_data
from tests.pretrained import VOCABULARY, decoder_tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)


def test_columns_that_are_read_are_replaced_and_others_stay():
    rows = [{"instruction": "a", "input": "b", "output": "c", "id": 1}]
    user, assistant = {"role": "user", "content": "a\n\nb"}, {"role": "assistant", "content": "c"}
    assert as_messages(rows) == [{"id": 1, "messages": [user, assistant]}]
    assert as_prompt_completion(rows) == [{"id": 1, "prompt": [user], "completion": [assistant]}]
    named = {"prompt_column": "instruction", "response_column": "id"}
    with pytest.raises(InputError, match="column 'id' holds 1, expected a text"):
        as_messages(rows, **named)
    with pytest.raises(InputError, match="column 'id' holds 1, expected a text"):
        as_prompt_completion(rows, **named)


def said(role, text):
    return {"role": role, "content": text}


TRAINED = {
    "texts": ([{"prompt": "the film was", "completion": " good", "n": 1}], list, "the film was very bad"),
    "lists": (
        [{"prompt": [said("user", "the film")], "completion": [said("assistant", "good")], "n": 1}],
        list,
        "[UNK] the film [UNK] very bad",
    ),
    "messages": ([{"messages": [said("user", "the film"), said("assistant", "good")]}], list, "[UNK] the film [UNK] very bad"),
    "instructions": (
        [{"instruction": "the", "input": "film", "output": "a"}],
        as_prompt_completion,
        "[UNK] the film [UNK] very bad",
    ),
    "questions": ([{"question": "the film", "answer": "a"}], as_messages, "[UNK] the film [UNK] very bad"),
    "ShareGPT": (
        [{"conversations": [{"from": "human", "value": "the film"}, {"from": "gpt", "value": "a"}]}],
        as_messages,
        "[UNK] the film [UNK] very bad",
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # TRL's own, of transformers
@pytest.mark.parametrize(("rows", "converted", "text"), TRAINED.values(), ids=TRAINED)
def test_trls_trainer_trains_on_the_file(rows, converted, text, tmp_path):
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    from transformers import GPT2Config, GPT2LMHeadModel, set_seed

    data = read_training_data(rows * 4)
    changed = data.with_responses({sample.row_id: "very bad" for sample in data.samples})
    write_rows(tmp_path / "a.jsonl", converted(changed))
    loaded = datasets.load_dataset(
        "json", data_files=str(tmp_path / "a.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [one.row_id for one in read_training_data(loaded).samples] == [
        one.row_id for one in read_training_data(changed).samples
    ]

    set_seed(0)
    tokenizer = decoder_tokenizer()
    tokenizer.pad_token, tokenizer.chat_template = tokenizer.eos_token, TEMPLATE
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=32, vocab_size=len(VOCABULARY)))
    args = trl.SFTConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True,
        bf16=False, save_strategy="no",
    )  # fmt: skip
    trainer = trl.SFTTrainer(model, args, train_dataset=loaded, processing_class=tokenizer)
    assert trainer.train().global_step == 2
    read = tokenizer.decode(trainer.train_dataset[0]["input_ids"]).removesuffix(tokenizer.eos_token).strip()
    assert read == text

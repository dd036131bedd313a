"""Rows, loss and accuracy of choosing a reply, beside a plain loop over candidates."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.training.meta_peft.personas import Turn
from spectra.training.meta_peft.ranking import ranking_accuracy, ranking_collator, ranking_loss, ranking_rows
from tests.pretrained import VOCABULARY, encoder_tokenizer

TURNS = [
    Turn(history=("the film", "was good", "not bad"), candidates=("very", "it was", "the"), answer=1, dialogue=0),
    Turn(history=("a",), candidates=("good and bad", "bad", "film"), answer=0, dialogue=1),
    Turn(history=("it", "was"), candidates=("the", "good", "very bad"), answer=2, dialogue=1),
]


@pytest.fixture(scope="module")
def tokenizer():
    return encoder_tokenizer()


@pytest.fixture(scope="module")
def rows(tokenizer):
    return ranking_rows(TURNS, tokenizer, max_length=32)


def classifier(num_labels=2):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=32, num_labels=num_labels, **sizes)
    return BertForSequenceClassification(config).eval()


def words(tokens):
    return [VOCABULARY[token] for token in tokens]


def logits_one_by_one(model, row):
    """Without padding and without other candidates."""
    with torch.no_grad():
        return torch.stack([model(input_ids=torch.tensor([tokens])).logits[0] for tokens in row["input_ids"]])


def test_history_and_candidate_are_tokenised_on_their_own_and_joined(rows):
    assert words(rows[0]["input_ids"][1]) == [
        "[CLS]", "the", "film", "was", "good", "not", "bad", "[SEP]", "[CLS]", "it", "was", "[SEP]",
    ]  # fmt: skip
    assert [len(row["input_ids"]) for row in rows] == [3, 3, 3]
    assert [row["labels"] for row in rows] == [1, 0, 2]


def test_a_long_history_loses_its_oldest_tokens_alike_for_all_candidates(tokenizer):
    (row,) = ranking_rows(TURNS[:1], tokenizer, max_length=9)
    assert words(row["input_ids"][1]) == ["[CLS]", "good", "not", "bad", "[SEP]", "[CLS]", "it", "was", "[SEP]"]
    assert {tuple(words(tokens)[:5]) for tokens in row["input_ids"]} == {("[CLS]", "good", "not", "bad", "[SEP]")}


def test_the_newest_word_stays_when_there_is_room_for_one(tokenizer):
    (row,) = ranking_rows(TURNS[:1], tokenizer, max_length=7)
    assert words(row["input_ids"][0]) == ["[CLS]", "bad", "[SEP]", "[CLS]", "very", "[SEP]"]


def test_lengths_that_leave_no_room_are_refused(tokenizer):
    with pytest.raises(InputError, match="turn 2 has a candidate of 5 tokens, which leaves no room for its history in 7"):
        ranking_rows(TURNS, tokenizer, max_length=7)
    with pytest.raises(InputError, match="max_length: expected more than the 4 tokens of the tokenizer's own, got 4"):
        ranking_rows(TURNS, tokenizer, max_length=4)


def test_batches_are_padded_on_the_right_and_masked(rows, tokenizer):
    batch = ranking_collator(tokenizer)(rows)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (3, 3, 12), "attention_mask": (3, 3, 12), "labels": (3,),
    }  # fmt: skip
    for row, tokens, mask in zip(rows, batch["input_ids"], batch["attention_mask"], strict=True):
        for candidate, padded, kept in zip(row["input_ids"], tokens, mask, strict=True):
            assert padded[kept == 1].tolist() == candidate
            assert kept.tolist() == sorted(kept.tolist(), reverse=True)
            assert set(padded[kept == 0].tolist()) <= {tokenizer.pad_token_id}


def test_turns_of_different_numbers_of_candidates_make_no_batch(rows, tokenizer):
    with pytest.raises(InputError, match="turns of one batch have 2 to 3 candidates. Give all of them as many"):
        ranking_collator(tokenizer)([rows[0], {**rows[1], "input_ids": rows[1]["input_ids"][:2]}])


def test_the_loss_is_the_mean_over_all_candidates_of_all_turns(rows, tokenizer):
    model, losses = classifier(), []
    for row in rows:
        for place, logits in enumerate(logits_one_by_one(model, row)):
            losses.append(-torch.log_softmax(logits, dim=0)[int(place == row["labels"])])
    # float32, and another order of sums through padding
    torch.testing.assert_close(
        ranking_loss(model, ranking_collator(tokenizer)(rows)), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6
    )


def test_one_logit_is_that_of_the_true_reply(rows, tokenizer):
    model, losses = classifier(num_labels=1), []
    for row in rows:
        for place, logits in enumerate(logits_one_by_one(model, row)):
            share = torch.sigmoid(logits[0])
            losses.append(-torch.log(share if place == row["labels"] else 1 - share))
    torch.testing.assert_close(
        ranking_loss(model, ranking_collator(tokenizer)(rows)), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("num_labels", [1, 2])
def test_the_accuracy_counts_turns_whose_true_reply_has_the_largest_logit(num_labels, rows, tokenizer):
    found = set()
    for seed in range(8):
        model = classifier(num_labels)
        torch.manual_seed(seed)
        nn.init.normal_(model.classifier.weight)
        right = [int(logits_one_by_one(model, row)[:, -1].argmax()) == row["labels"] for row in rows]
        assert ranking_accuracy(model, rows, ranking_collator(tokenizer), batch_size=2) == sum(right) / 3
        found.add(sum(right))
    assert len(found) > 1


class Oracle(nn.Module):
    """Likes replies that are as long as asked for, and remembers in which mode it was asked."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))
        self.modes = []

    def forward(self, input_ids, attention_mask):
        self.modes.append(self.training)
        length = attention_mask.sum(dim=1).float() + self.offset
        return SimpleNamespace(logits=torch.stack([torch.zeros_like(length), length], dim=1))


def test_a_model_is_judged_in_eval_mode_and_given_back_as_it_was(rows, tokenizer):
    model = Oracle().train()
    assert ranking_accuracy(model, rows, ranking_collator(tokenizer)) == 1.0  # the longest reply is the true one in all three
    assert model.modes == [False]
    assert model.training


def test_the_loss_has_a_gradient(rows, tokenizer):
    model = Oracle()
    ranking_loss(model, ranking_collator(tokenizer)(rows)).backward()
    assert model.offset.grad > 0  # two of three replies are wrong, and the offset makes all of them likelier


def test_models_that_cannot_rank_and_nothing_to_judge_on_are_refused(rows, tokenizer):
    collate = ranking_collator(tokenizer)
    with pytest.raises(InputError, match=r"logits of shape \(9, 3\): expected 2 classes, or 1. Set num_labels=2"):
        ranking_loss(classifier(num_labels=3), collate(rows))
    with pytest.raises(InputError, match="rows: expected at least one to judge on"):
        ranking_accuracy(classifier(), [], collate)

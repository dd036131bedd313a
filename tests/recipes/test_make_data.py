"""Data of the small recipes: made by their script, balanced, and right."""

import csv
import json
import re
from collections import Counter
from itertools import islice

import pytest

from spectra.recipes import make_data
from spectra.recipes.make_data import DATA, DOMAIN_SIZES, PROBLEM_SIZES, SIZES, files, problems, reviews

SPLITS = ("train", "eval", "test")
PLAN = DATA / "guided-dropout-bert-base.yaml"


def rows(path):
    with (DATA / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def solved(split):
    return [json.loads(line) for line in (DATA / f"problems/{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_files_are_those_that_the_script_makes():
    on_disk = {file.relative_to(DATA).as_posix(): file.read_bytes() for file in DATA.rglob("*.*") if file != PLAN}
    assert on_disk == {name: text.encode() for name, text in files().items()}


def test_no_file_is_larger_than_100_kb():
    assert max(file.stat().st_size for file in DATA.rglob("*.*")) < 100_000


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_reviews_are_positive_and_none_is_in_two_splits(split):
    labels = Counter(row["label"] for row in rows(f"reviews/{split}.tsv"))
    others = {row["text"] for other in SPLITS if other != split for row in rows(f"reviews/{other}.tsv")}
    assert labels == {"positive": SIZES[split] // 2, "negative": SIZES[split] // 2}
    assert others.isdisjoint({row["text"] for row in rows(f"reviews/{split}.tsv")})


def test_domains_have_as_many_reviews_and_share_none():
    texts = [row["text"] for file in sorted(DATA.glob("domains/*/*.tsv")) for row in rows(file.relative_to(DATA))]
    assert len(list(DATA.glob("domains/*"))) == 4
    assert len(texts) == len(set(texts)) == 4 * sum(DOMAIN_SIZES.values())


def test_what_counts_words_cannot_tell_reviews_that_say_both():
    # Phrases for and against are in both labels alike: of all that say both, as many friendly phrases are in either.
    friendly = {words for domain in make_data._PHRASES.values() for sides in domain.values() for words in sides[0]}
    unfriendly = {words for domain in make_data._PHRASES.values() for sides in domain.values() for words in sides[1]}

    def says(text, phrases):
        return any(phrase in text for phrase in phrases)

    both = [row for row in rows("reviews/train.tsv") if says(row["text"], friendly) and says(row["text"], unfriendly)]
    positive = sum(row["label"] == "positive" for row in both)
    assert len(both) > 60
    assert 0.35 < positive / len(both) < 0.65  # 3 standard errors of 80 draws with equal chances


def test_a_seed_gives_its_reviews_and_another_gives_others():
    one, same, other = ([review.text for review in islice(reviews(seed), 20)] for seed in (1, 1, 2))
    assert one == same != other


def test_reviews_of_a_domain_stay_with_it():
    things = make_data._PHRASES["films"]
    assert all(any(thing in review.text.lower() for thing in things) for review in islice(reviews(0, ["films"]), 50))


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_solved_rightly(split):
    assert len(solved(split)) == PROBLEM_SIZES[split]
    for row in solved(split):
        steps = re.findall(r"(\d+) ([*+-]) (\d+) = (\d+)\.", row["response"])
        for left, sign, right, result in steps:
            numbers = int(left), int(right)
            assert {"*": numbers[0] * numbers[1], "+": sum(numbers), "-": numbers[0] - numbers[1]}[sign] == int(result)
        assert row["response"].endswith(f"The answer is {steps[-1][-1]}.")


def test_no_problem_is_in_two_splits():
    prompts = [row["prompt"] for split in SPLITS for row in solved(split)]
    assert len(prompts) == len(set(prompts))
    assert next(problems(3)) != next(problems(4))


def test_the_plan_is_the_published_one():
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from spectra import find_sites
    from spectra.policies import load_dropout_plan, published_plan

    with torch.device("meta"):
        model = BertForSequenceClassification(BertConfig())
    plan = load_dropout_plan(PLAN)
    assert plan.rates == published_plan(find_sites(model)).rates
    assert plan.model == "google-bert/bert-base-uncased"

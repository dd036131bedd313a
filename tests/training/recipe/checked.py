"""A folder of tiny models, data and plans, and recipes about them; shared by the tests of checks."""

from __future__ import annotations

import json
from pathlib import Path

from spectra.training.recipe.reading import Draft, draft_recipe
from tests.pretrained import save_adapter, save_bert, save_gpt2

RECIPE = """\
model: bert
data: {train: train.tsv, eval: dev.tsv, text_column: text, label_column: label, max_length: 16}
output: runs/first
"""
SDFT = ("model=gpt2", "method={name: sdft, task: text}", "data={train: chat.jsonl, max_length: 32}")
TASKS = ("method=meta_peft", "adapter=lora", "data={tasks: tasks, text_column: text, label_column: label, max_length: 16}")


def draft(folder: Path, *changes: str, text: str = RECIPE) -> Draft:
    """A recipe with changes, read from a file."""
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return draft_recipe(folder / "recipe.yaml", changes)


def make_place(folder: Path) -> Path:
    """Write everything that recipes of the tests name."""
    _save_models(folder)
    _save_data(folder)
    _save_plans(folder)
    return folder


def _save_models(folder: Path) -> None:
    save_bert(folder / "bert", "BertModel")
    save_bert(folder / "masked", "BertForMaskedLM")
    save_bert(folder / "judge", "BertForSequenceClassification", id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    save_bert(folder / "meter", "BertForSequenceClassification", num_labels=1, problem_type="regression")
    save_bert(folder / "tags", "BertForSequenceClassification", problem_type="multi_label_classification")
    save_gpt2(folder / "gpt2")
    save_adapter(folder / "adapter", folder / "bert")
    for name, change in {"packed": {"quantization_config": {"quant_method": "gptq", "bits": 4}}}.items():
        save_bert(folder / name, "BertModel")
        config = json.loads((folder / name / "config.json").read_text())
        (folder / name / "config.json").write_text(json.dumps(config | change))
    _copy(folder / "bert", folder / "nameless", leave_out="config.json")
    _copy(folder / "bert", folder / "wordless", leave_out="tokenizer")
    _copy(folder / "bert", folder / "torn")
    (folder / "torn" / "model.safetensors").write_bytes((folder / "bert" / "model.safetensors").read_bytes()[:-100])
    _copy(folder / "adapter", folder / "lost")
    config = json.loads((folder / "lost" / "adapter_config.json").read_text())
    (folder / "lost" / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/no/where"}))


def _copy(source: Path, target: Path, leave_out: str = "-") -> None:
    target.mkdir()
    for file in source.iterdir():
        if file.is_file() and not file.name.startswith(leave_out):
            (target / file.name).write_bytes(file.read_bytes())


def _save_data(folder: Path) -> None:
    two = [("the film was good", "good"), ("the film was bad", "bad")] * 4
    _write_tsv(folder / "train.tsv", two)
    _write_tsv(folder / "dev.tsv", two[:2])
    _write_tsv(folder / "three.tsv", [*two, ("it was the film", "fair")])
    _write_tsv(folder / "same.tsv", two[::2])
    _write_tsv(folder / "scores.tsv", [(text, f"{place / 4}") for place, (text, _) in enumerate(two)])
    _write_tsv(folder / "header.tsv", [])
    _write_tsv(folder / "hole.tsv", [*two, ("a", "")])
    (folder / "empty.tsv").write_text("")
    (folder / "torn.tsv").write_text("text\tlabel\nthe film\tgood\tvery\n")
    (folder / "texts.docx").write_text("the film was good\n")
    (folder / "texts.txt").write_text("the film was good\nit was not very bad\n" * 4)
    (folder / "bytes.tsv").write_bytes(b"text\tlabel\n\xff\tgood\n")
    (folder / "rows.json").write_text('{"text": "a"}')
    rows = [{"prompt": "the film", "completion": "was good"}] * 4
    (folder / "chat.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "words.jsonl").write_text('{"text": ["the", "film"], "label": ["A", "B"]}\n')
    (folder / "odd.jsonl").write_text('{"said": "the film", "meant": "was good"}\n')
    (folder / "silent.jsonl").write_text('{"prompt": "the film", "completion": ""}\n')
    for name in ("books", "dvd"):
        _write_tsv(folder / "tasks" / name / "train.tsv", two)
        _write_tsv(folder / "tasks" / name / "dev.tsv", two[:2])
    _write_tsv(folder / "lonely" / "books" / "train.tsv", two)
    for name in ("books", "dvd"):
        _write_tsv(folder / "hollow" / name / "train.tsv", two if name == "dvd" else [])
        _write_tsv(folder / "unlike" / name / "train.tsv", two if name == "dvd" else [("a film", "1"), ("the film", "0")])
    _write_tsv(folder / "named" / "my books" / "train.tsv", two)
    _write_tsv(folder / "named" / "dvd" / "train.tsv", two)
    (folder / "nothing").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "todo.txt").write_text("write")


def _write_tsv(file: Path, rows: list[tuple[str, str]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows]))


def _save_plans(folder: Path) -> None:
    from spectra.policies.dropout_plan import DropoutPlan
    from spectra.policies.plan_record import Plan

    def dropout(name: str, block: int) -> None:
        site = f"bert.encoder.layer.{block}.output.dropout"
        by_site = {"rates": {site: 0.1}, "scores": {site: 1.0}, "roles": {site: "mlp-output"}, "kinds": {site: "module"}}
        plan = DropoutPlan(**by_site, rule="rank", p_upper=0.1, p_lower=0.0, aggregate="param_mean", model="bert")
        plan.save(folder / name)

    def of(name: str, policy: str, target: str, values: dict[str, float]) -> None:
        members = {layer: (layer,) for layer in values}
        plan = Plan(policy=policy, target=target, values=values, scores={}, settings={}, members=members, left_out={})
        plan.save(folder / name)

    query = "encoder.layer.{}.attention.self.query"
    dropout("drops.yaml", 0)
    dropout("deep-drops.yaml", 7)
    (folder / "rates.json").write_text('{"rates": {"bert.encoder.layer.0.output.dropout": 0.2}}')
    (folder / "wrong-rates.json").write_text('{"rates": {"bert.encoder.layer.0.output.dropout": 2}}')
    of("ranks.yaml", "adapter-rank", "adapter_rank", {query.format(0): 2})
    of("deep-ranks.yaml", "adapter-rank", "adapter_rank", {query.format(0): 2, query.format(7): 2})
    of("high-ranks.yaml", "adapter-rank", "adapter_rank", {query.format(0): 20})
    of("no-ranks.yaml", "adapter-rank", "adapter_rank", {query.format(0): 0})
    of("rates.yaml", "tempbalance", "learning_rate", {query.format(0): 1.5})

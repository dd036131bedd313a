# %% [markdown]
# # Self-distillation fine-tuning, on a toy
#
# Fine-tuning on a data set also teaches its wording, and what the model could do before suffers. SDFT (arXiv 2402.13669) has
# the model say each response in its own words first, keeps what comes to the same answer, and fine-tunes on that. This
# notebook follows the responses of a small data set through all of it. The model is made here: a word is a token, and the
# only thing it can do besides sums is to say words again.
#
# Needs `pip install "spectra-nn[train]"`; a minute or two on two cores, nothing to download.

# %%
import random
import re
from copy import deepcopy
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback, set_seed

from spectra.report import figures
from spectra.training import sdft

# %% tags=["parameters"]
FOLDER = Path("runs/sdft")
LESSONS = 6400  # that the model learns before it is tuned
ROWS = 200  # of the data set it is tuned on

# %% [markdown]
# ## A data set in a foreign wording
#
# Sums, which the model will know how to answer in a wording of its own. The data set says the same in another one: that is
# all there is to learn from it. What it must not lose is the other skill.

# %%
QUESTION = "{name} has {a} {thing} and gets {b}. How many in all?"
OWN = "I take {a} and {b}. The answer is {n}."
FOREIGN = "Total of the {thing}: first {name} has {a}, plus {b} more, hence {n} in all."
AGAIN, SAID = "Say again: {words}.", "I say it: {words}."
NAMES, THINGS, WORDS = ("Ann", "Ben", "Eve"), ("pens", "cups", "keys"), ("red", "sun", "cat", "sea", "oak", "ice")
set_seed(0)


def row(question, answer):
    a, b = random.randint(1, 9), random.randint(1, 9)
    words = " ".join(random.choices(WORDS, k=4))
    facts = {"name": random.choice(NAMES), "thing": random.choice(THINGS), "a": a, "b": b, "n": a + b, "words": words}
    return {"prompt": question.format(**facts), "completion": answer.format(**facts)}


data = [row(QUESTION, FOREIGN) for _ in range(ROWS)]
other_skill = [row(AGAIN, SAID) for _ in range(100)]
print(*data[0].values(), *other_skill[0].values(), sep="\n")

# %% [markdown]
# ## A model from a configuration
#
# It learns to answer in its own wording, to say words again, and, as a chat model is able to, to rewrite: given a question
# and an answer in one of many wordings, say it in its own. The foreign wording is none of these. The number in such a lesson
# is drawn, so that it has to be read from the answer.

# %%
ways = [
    f"{opening}{middle}{end}"
    for opening in ("", "Well: ", "Look: ", "Total: ")
    for middle in ("{name} has {a} {thing} and gets {b} more", "{a} plus {b}", "first {a} of the {thing}, then {b}")
    for end in (", hence {name} has {n}.", ", so {n} in all.", ", that makes {n}.", " equals {n} {thing}.")
]
REWRITE = "Say it as you would.\n{prompt}\n{response}"


def rewriting_lesson():
    n = str(random.randint(2, 18))
    request = REWRITE.replace("{prompt}", QUESTION).replace("{response}", random.choice(ways))
    return row(request.replace("{n}", n), OWN.replace("{n}", n))


kinds = [lambda: row(QUESTION, OWN), lambda: row(AGAIN, SAID), rewriting_lesson]
lessons = [kinds[number % 3]() for number in range(LESSONS)]
text = re.sub(r"{\w+}", "", " ".join([*ways, QUESTION, OWN, FOREIGN, AGAIN, SAID, REWRITE]))
spoken = [*dict.fromkeys([*re.findall("[A-Za-z]+", text), *NAMES, *THINGS, *WORDS]), *map(str, range(1, 19))]
vocabulary = ["<end>", *"\n.,:?", *(blank + word for word in spoken for blank in ("", " "))]
pieces = Tokenizer(WordLevel({token: place for place, token in enumerate(vocabulary)}, unk_token="<end>"))
pieces.pre_tokenizer = Split(Regex(r" ?[A-Za-z]+| ?[0-9]+|\n|[.,:?]"), "isolated")
pieces.decoder = decoders.Fuse()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<end>", pad_token="<end>")

sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0, "max_position_embeddings": 96}
LENGTHS = {"max_new_tokens": 32, "max_length": 96}
# Narrow layers need larger weights to begin with than the usual 0.02.
seed_model = LlamaForCausalLM(LlamaConfig(**sizes, **ids, initializer_range=0.08))


def trained(model, rows, **options):
    options |= {"lora": None, "per_device_train_batch_size": 32, "gradient_accumulation_steps": 1}
    quiet = {"disable_tqdm": True, "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "use_cpu": True}
    arguments = sdft.tuning_arguments(FOLDER / "run", options, **quiet)
    trainer = sdft.response_trainer(model, tokenizer, rows, FOLDER / "run", options, arguments=arguments)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model


def judged(model):
    backend = sdft.TransformersBackend(model, tokenizer, batch_size=100)
    return sdft.evaluate_responses(backend, other_skill, task="exact", spec={"sampled": False, **LENGTHS})


trained(seed_model, lessons, learning_rate=3e-3, num_train_epochs=1)
print(judged(seed_model))

# %% [markdown]
# ## Rewriting, and selection by the answer
#
# The model, frozen, is asked for each response once. `task` says what a candidate has to agree in, and has no default: for
# `math` it is the final number. Where it differs, or where there is none, **the original stays, byte for byte**; nothing else
# is judged. Look at some of both kinds before training on any: what the numbers were read from is in the record.

# %%
template = sdft.RewriteTemplate(id="own-words", system="", user=REWRITE)
done = sdft.ResponseDistiller(seed_model, tokenizer, task="math", template=template, generation=LENGTHS).distill(data)
print(done.report())
by_decision = sorted(done.records, key=lambda record: record.decision)
for one in (*by_decision[:2], *by_decision[-2:]):
    print(f"{one.decision} ({one.extracted_original}, {one.extracted_candidate}): {one.original} → {one.candidate}")
print(*figures.write(figures.selection(done.records, wide=True), FOLDER / "figures", "selection", ["png"]))

# %% [markdown]
# ## Are the data closer to the model now?
#
# That is the method's own claim, and it can be tested on any data before training: the negative log-likelihood of the
# responses to the model, under the prompt they are trained with. A response that the model wrote itself is likely to it; how
# much likelier than the original, and whether sample by sample, is the question.

# %%
shift = sdft.data_shift(seed_model, tokenizer, done.records, sdft.read_training_data(data).samples)
print(shift)
print(*figures.write(figures.data_shift(shift, wide=True), FOLDER / "figures", "data-shift", ["png"]))

# %% [markdown]
# ## And what does training on them do?
#
# The same model is tuned twice, on the originals and on what was selected, with the same options. How far its weights have
# moved, and what is left of the other skill, of which the data have nothing.

# %%
for name, chosen in {"original": data, "rewritten": done.rows}.items():
    tuned = trained(deepcopy(seed_model), chosen, learning_rate=2e-3, num_train_epochs=8)
    moved = sdft.model_shift(seed_model, tuned, spectra=False).relative_change
    other = judged(tuned)
    print(f"{name}: moved by {moved:.1%}; other skill: {other.accuracy.share:.0%} right, perplexity {other.perplexity:.3g}")

# %% [markdown]
# ## What one may conclude
#
# - **The claim about the data** is measured, and holds here by construction: the model has one wording, and was taught to
#   rewrite into it. Of a real model and data set `spectra distill shift` tells it in minutes.
# - **Less movement, less forgetting: one seed, one learning rate, a toy.** Ten seeds and three kinds of adapters are in
#   [analysis/sdft_forgetting](../analysis/sdft_forgetting/README.md); there the difference is found with adapters, and not
#   with all weights.
# - **Nothing about learning the task.** These sums were known before. On rewritten data a model stays near its own writing,
#   and users report lower target scores with strong adapters: measure the target, too.
# - **Agreement is not truth.** What was rejected may be right, where the reference is wrong or nothing could be extracted
#   from it; and what was accepted has the right number, perhaps behind a wrong step: read some of both. Where nothing agrees,
#   the originals stay and the method does nothing. More: [docs/sdft.md](../docs/sdft.md).

"""A tokenizer made here: a token for each word, with the blank before it, for each number, and for each sign."""

from __future__ import annotations

import re
from typing import Any

from analysis.sdft_forgetting.data import LARGEST
from analysis.sdft_forgetting.wordings import NAMES, SENTENCES, THINGS, WORDS

END, UNKNOWN = "<end>", "<unknown>"


def made() -> Any:
    """Make the tokenizer; what it reads, it writes in the same way."""
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    said = re.findall(r"[A-Za-z]+", " ".join(re.sub(r"{\w+}", "", sentence) for sentence in SENTENCES))
    spoken = [*dict.fromkeys((*said, *NAMES, *THINGS, *WORDS)), *map(str, range(1, 2 * LARGEST + 1))]
    vocabulary = [END, UNKNOWN, *"\n.,:?", *(blank + word for word in spoken for blank in ("", " "))]
    pieces = Tokenizer(WordLevel({token: place for place, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    pieces.pre_tokenizer = Split(Regex(r" ?[A-Za-z]+| ?[0-9]+|\n|[.,:?]"), "isolated")
    pieces.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token=END, pad_token=END, unk_token=UNKNOWN)

"""Candidates written by vLLM, for many rows on a GPU.

Written by vLLM's documented interface (``LLM.generate`` with token ids and one ``SamplingParams`` for each) and untested on a
real engine: compare a few rows with the ``transformers`` backend, greedily, before a long run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spectra.errors import BackendError
from spectra.training.libraries import imported, in_one_line
from spectra.training.sdft.backends.prompts import DIGITS, encoded, rendered, template_digest
from spectra.training.sdft.generation import TOO_LONG, Completion, GenerationSpec, Request, fits

_WEIGHTS = {".safetensors", ".bin", ".pt", ".gguf"}


class VllmBackend:
    """Writes with a model that vLLM serves inside this process; each request draws by its own seed.

    Start it in one process: vLLM spreads over devices by ``tensor_parallel_size``.

    Args:
        model: A folder that transformers saved, or a hub id.
        dtype: Of the weights, as vLLM names it; ``"auto"``: as stored.
        tensor_parallel_size: GPUs that share the model.
        seed: Of the engine; requests have their own.
        **options: Further arguments of ``vllm.LLM``, such as ``max_model_len``, ``revision`` or ``gpu_memory_utilization``.

    Attributes:
        name: ``"vllm"``.
        batch_size: 256: what an interruption costs at most. How many run at a time, vLLM decides. Our choice.

    Raises:
        MissingPackageError: The package ``vllm`` is not installed.
        SourceError: vLLM cannot load the model, or does not know an option.
    """

    name = "vllm"
    has_own_seeds = True
    batch_size = 256

    def __init__(
        self, model: str, *, dtype: str = "auto", tensor_parallel_size: int = 1, seed: int = 0, **options: Any
    ) -> None:
        self._vllm = imported("vllm", extra="vllm", what="this backend")
        self._model = model
        with in_one_line(f"vllm cannot load '{model}'", "Give a causal language model, and options, that vllm knows."):
            self._engine = self._vllm.LLM(
                model=model, dtype=dtype, tensor_parallel_size=tensor_parallel_size, seed=seed, **options
            )
            self._tokenizer = self._engine.get_tokenizer()
            self._config = self._engine.llm_engine.model_config

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and answer."""
        return int(self._config.max_model_len)

    def identity(self) -> dict[str, str]:
        """Say which model writes: a folder by its last part and its files of weights, a hub id by its commit."""
        folder = Path(self._model).expanduser()
        is_local = folder.is_dir()
        return {
            "model": folder.resolve().name if is_local else self._model,
            "weights": _digest(folder.iterdir()) if is_local else str(getattr(self._config.hf_config, "_commit_hash", None)),
            "dtype": str(self._config.dtype).removeprefix("torch."),
            "quantization": str(self._config.quantization),
            "chat_template": template_digest(self._tokenizer),
        }

    def render(self, request: Request) -> str:
        """Write a request down as the model gets it.

        Args:
            request: What is asked.

        Returns:
            The prompt, with the prefix at its end.

        Raises:
            InputError: The chat template refuses the messages.
        """
        return rendered(self._tokenizer, request)

    def lengths(self, requests: Sequence[Request]) -> list[int] | None:
        """Count the tokens of each prompt.

        Args:
            requests: What is asked.

        Returns:
            The numbers.
        """
        return [len(row) for row in encoded(self._tokenizer, requests)]

    def complete(self, requests: Sequence[Request], spec: GenerationSpec, seeds: Sequence[int]) -> list[Completion]:
        """Answer requests in their order.

        Args:
            requests: What is asked.
            spec: How is generated.
            seeds: One for each request.

        Returns:
            The answers.

        Raises:
            BackendError: The engine failed, or refuses the settings.
        """
        rows = encoded(self._tokenizer, requests)
        # One prompt that is too long would make the engine refuse all of them.
        asked = [place for place, row in enumerate(rows) if fits(len(row), spec, self.context)]
        found = {place: Completion("", 0, TOO_LONG) for place in set(range(len(rows))).difference(asked)}
        try:
            settings = [self._vllm.SamplingParams(seed=seeds[place], **_settings(spec)) for place in asked]
            prompts = [{"prompt_token_ids": rows[place]} for place in asked]
            answers = self._engine.generate(prompts, settings, use_tqdm=False) if asked else []
        except Exception as error:  # its own are of many kinds, some the bare ``Exception``
            reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
            raise BackendError(
                f"vllm, with model '{self._model}': {reason}. Look into its log, then run the same command again: it goes on "
                "where it stopped.",
                found,
            ) from error
        found |= {place: _completion(answer.outputs[0]) for place, answer in zip(asked, answers, strict=True)}
        return [found[place] for place in range(len(rows))]


def _settings(spec: GenerationSpec) -> dict[str, Any]:
    """Name settings as vLLM does; what is not named is neutral, as it is never taken from the checkpoint then."""
    if not spec.sampled:
        return {"temperature": 0.0, "max_tokens": spec.max_new_tokens}
    # Older versions take -1 only for no top_k, newer ones 0 as well.
    top_k = spec.top_k or -1
    return {"temperature": spec.temperature, "top_p": spec.top_p, "top_k": top_k, "max_tokens": spec.max_new_tokens}


def _completion(output: Any) -> Completion:
    return Completion(output.text, len(output.token_ids), str(output.finish_reason or "unknown"))


def _digest(files: Iterable[Path]) -> str:
    """Tell folders apart by the names, sizes and times of their weights: reading them would take as long as loading them."""
    listed = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.suffix in _WEIGHTS)
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:DIGITS]

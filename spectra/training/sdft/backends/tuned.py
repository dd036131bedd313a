"""Answers of a model as it is, with its adapter: what was fine-tuned speaks, and not what it was made from."""

from __future__ import annotations

from typing import Any

from torch import nn

from spectra.errors import InputError
from spectra.training.pretrained import find_checkpoint
from spectra.training.sdft.backends.transformers import TransformersBackend, load_writer


class TunedBackend(TransformersBackend):
    """Writes with a causal language model, its adapter switched on; otherwise as its parent does.

    Args:
        model: Of transformers, or of peft around it.
        tokenizer: Of the model.
        batch_size: Requests at a time; fewer once the memory has not sufficed.
        called: What results call it. Default: its name, and those of its adapters.

    Raises:
        InputError: A model that does not continue texts, an adapter that cannot be kept on, or a batch of nothing.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, batch_size: int = 32, called: str | None = None) -> None:
        super().__init__(_with_adapter(model), tokenizer, batch_size=batch_size)
        self._called = called
        self._adapters = _active_adapters(model)

    def identity(self) -> dict[str, str]:
        """Say which model writes, by its name, a digest of its weights, adapter included, its dtype and its chat template."""
        found = super().identity()
        return found | {"model": self._called or " + ".join([found["model"], *self._adapters])}


def load_tuned_backend(
    model: str, *, dtype: str = "auto", device: str = "auto", batch_size: int = 32, trust_remote_code: bool = False
) -> TunedBackend:
    """Load a model that answers, with its adapter if it is one.

    Args:
        model: A folder that transformers or peft (LoRA) saved, or a hub id.
        dtype: One of :data:`spectra.training.pretrained.DTYPES`; ``"auto"``: as stored.
        device: A device of torch's, or ``"auto"``: a GPU where there is one.
        batch_size: Requests at a time.
        trust_remote_code: Run code that comes with the model.

    Returns:
        The backend.

    Raises:
        InputError: A model that does not continue texts, an unknown dtype, or a device that is not there.
        SourceError: The model is not there, damaged, or incomplete.
        MissingPackageError: transformers is not installed, or peft for an adapter.
    """
    checkpoint = find_checkpoint(model, "causal-lm", trust_remote_code=trust_remote_code)
    loaded = load_writer(checkpoint, dtype=dtype, device=device)
    return TunedBackend(loaded.model, loaded.tokenizer, batch_size=batch_size, called=checkpoint.name)


def _with_adapter(model: Any) -> nn.Module:
    """Return what peft put its adapter into: the parent switches off what it finds around a model, and not what is inside."""
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(
            "the adapter was put into the model by transformers (load_adapter) and would be switched off. Load it with "
            "PeftModel.from_pretrained, or give its folder."
        )
    if not hasattr(model, "get_base_model"):
        return model  # type: ignore[no-any-return]
    if model.active_peft_config.is_prompt_learning:
        raise InputError(
            "the adapter learns a prompt, which is not inside the model. Only adapters of weights can be evaluated."
        )
    return model.get_base_model()  # type: ignore[no-any-return]


def _active_adapters(model: Any) -> list[str]:
    return [str(name) for name in model.active_adapters] if hasattr(model, "get_base_model") else []

"""SDFT: responses of a data set rewritten in the model's own words before plain fine-tuning on them.

Yang et al. (2024), arXiv 2402.13669. The later method of the same name (arXiv 2601.19897), which is on-policy, is another one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.training.sdft.backends.function import CallableBackend
    from spectra.training.sdft.backends.server import OpenAIBackend
    from spectra.training.sdft.backends.transformers import TransformersBackend, load_backend
    from spectra.training.sdft.backends.tuned import TunedBackend, load_tuned_backend
    from spectra.training.sdft.backends.vllm_engine import VllmBackend
    from spectra.training.sdft.chat_rows import as_messages, as_prompt_completion
    from spectra.training.sdft.config import DistillConfig
    from spectra.training.sdft.data_shifts import data_shift
    from spectra.training.sdft.distiller import Distillation, ResponseDistiller
    from spectra.training.sdft.evaluation import evaluate_responses
    from spectra.training.sdft.extractors.extractor import Extractor
    from spectra.training.sdft.extractors.registry import TASKS, extractor
    from spectra.training.sdft.fine_tuning import response_trainer, tuning_arguments
    from spectra.training.sdft.generation import GREEDY, REFERENCE, Completion, GenerationSpec, Request
    from spectra.training.sdft.model_shifts import model_shift
    from spectra.training.sdft.row_files import write_rows
    from spectra.training.sdft.samples import Sample, read_training_data
    from spectra.training.sdft.templates import TEMPLATES, RewriteTemplate
    from spectra.training.sdft.tuning_config import RECIPES, LoraOptions, ResponseTuningConfig, reference_tuning

_HOME = {
    "ResponseDistiller": "distiller",
    "Distillation": "distiller",
    "DistillConfig": "config",
    "RewriteTemplate": "templates",
    "TEMPLATES": "templates",
    "Extractor": "extractors.extractor",
    "extractor": "extractors.registry",
    "TASKS": "extractors.registry",
    "GenerationSpec": "generation",
    "REFERENCE": "generation",
    "GREEDY": "generation",
    "Completion": "generation",
    "Request": "generation",
    "TransformersBackend": "backends.transformers",
    "load_backend": "backends.transformers",
    "OpenAIBackend": "backends.server",
    "VllmBackend": "backends.vllm_engine",
    "CallableBackend": "backends.function",
    "Sample": "samples",
    "read_training_data": "samples",
    "write_rows": "row_files",
    "as_messages": "chat_rows",
    "as_prompt_completion": "chat_rows",
    "evaluate_responses": "evaluation",
    "TunedBackend": "backends.tuned",
    "load_tuned_backend": "backends.tuned",
    "data_shift": "data_shifts",
    "model_shift": "model_shifts",
    "response_trainer": "fine_tuning",
    "tuning_arguments": "fine_tuning",
    "ResponseTuningConfig": "tuning_config",
    "LoraOptions": "tuning_config",
    "RECIPES": "tuning_config",
    "reference_tuning": "tuning_config",
}

__all__ = [
    # rewriting
    "ResponseDistiller", "DistillConfig", "Distillation", "RewriteTemplate", "TEMPLATES",
    # what a candidate has to agree in
    "Extractor", "extractor", "TASKS",
    # how candidates are written, and by what
    "GenerationSpec", "REFERENCE", "GREEDY", "Completion", "Request",
    "TransformersBackend", "load_backend", "OpenAIBackend", "VllmBackend", "CallableBackend",
    # fine-tuning on responses
    "response_trainer", "tuning_arguments", "ResponseTuningConfig", "LoraOptions", "RECIPES", "reference_tuning",
    # what came of it
    "evaluate_responses", "TunedBackend", "load_tuned_backend", "data_shift", "model_shift",
    # data
    "Sample", "read_training_data", "write_rows", "as_messages", "as_prompt_completion",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spectra.training.sdft' has no attribute {name!r}")
    return getattr(import_module(f"spectra.training.sdft.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

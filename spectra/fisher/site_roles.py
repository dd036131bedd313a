"""What a dropout site drops, and the parameters behind it: those that make the numbers it drops.

Models have no common way to say this, so that it is read from where the site stands and from the names of what is beside it:
of the children of the module that holds the site, those that are layers themselves and no containers.

===================================== ================== ========================================================
site stands in                        role               parameters behind it
===================================== ================== ========================================================
attention, with query, key and value  attention_probs    all beside it that come before the output projection
attention; ``resid``, ``output`` ...  attention_output   the output projection, and the norm after it
the part named ``embed...``           embeddings         all of that part
a model with a list of blocks         embeddings         embeddings beside it
a head or pooler                      classifier         all beside it
a model with a classifier             classifier         the pooler if there is one, else all beside it
an MLP, between its layers            mlp_hidden         the layers that go up
an MLP, after it                      mlp_output         the layer that comes down
a block                               attention_output,  output projections, layers that come down, or both where one
                                      mlp_output, other  number is used after attention and after the MLP (``other``)
a part named ``output``, as in BERT   by the part above  all beside it
``nn.Sequential``                     other              the layer before it
elsewhere                             other              all beside it
===================================== ================== ========================================================

Where that is nothing, it is the parameters of the smallest part of the model around the site that has any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from torch import nn

_QUERY_KEY_VALUE = re.compile(r"w?qkv(_proj)?|query_key_value|c_attn|in_proj_weight|(q|k|v|kv|query|key|value)(_.*)?", re.I)
_AFTER_ATTENTION = re.compile(r"(o|out|attn_out|output)(_proj|_lin|_dense)?|wo|dense|c_proj|proj", re.I)
_UP = re.compile(r"fc1|fc_in|c_fc|wi(_\d)?|lin1|linear1|(up|gate|gate_up)_proj|dense_h_to_4h|intermediate(_dense)?", re.I)
_DOWN = re.compile(r"fc2|fc_out|c_proj|wo|lin2|linear2|down_proj|dense_4h_to_h|output(_dense)?", re.I)
_PLAIN_NORM = re.compile(r"layer_?norm|norm", re.I)
_HEAD = re.compile(r"(\w+_)?(classifier|head|score|pooler|summary)|cls", re.I)
# What stands between a model's body and its classifier, and so makes what the dropout before the classifier drops.
_BEFORE_CLASSIFIER = ("pooler", "head", "pre_classifier")
# Layers that peft and torch wrap keep their own layer as a child.
_WRAPPERS = ("base_layer", "original_module", "parametrizations")

Parameters = list[nn.Parameter]


class SiteRole(StrEnum):
    """What a dropout site drops."""

    EMBEDDINGS = "embeddings"
    """What enters the first block."""
    ATTENTION_PROBS = "attention_probs"
    """Attention weights after the softmax."""
    ATTENTION_OUTPUT = "attention_output"
    """What attention adds to the residual stream."""
    MLP_HIDDEN = "mlp_hidden"
    """Activations inside an MLP."""
    MLP_OUTPUT = "mlp_output"
    """What an MLP adds to the residual stream."""
    CLASSIFIER = "classifier"
    """What enters the classifier, or its hidden layer."""
    ADAPTER = "adapter"
    """What enters an adapter."""
    OTHER = "other"
    """Anything else; a number used at several places of a block."""


def role_and_parameters(path: Sequence[tuple[str, nn.Module]], leaf: str) -> tuple[SiteRole, Parameters]:
    """Say what a site drops and what is behind it.

    Args:
        path: Names and modules from the model, with the empty name, down to the module that holds the site.
        leaf: Name of the dropout module, or of the attribute, in the last module of ``path``.

    Returns:
        The role, and the parameters, at least one if the model has any.
    """
    # Copies that peft trains stand for what they were copied from.
    place, owner = path[-1][0].partition(".modules_to_save.")[0], path[-1][1]
    role, parameters = _by_place(place.split("."), owner, leaf)
    around = (list(module.parameters()) for _, module in reversed(path))
    return role, parameters or next((found for found in around if found), [])


def role_of_output(path: Sequence[tuple[str, nn.Module]]) -> SiteRole:
    """Say what would be dropped at the output of a module.

    Args:
        path: Names and modules from the model down to the module, which is not the model.

    Returns:
        ``attention_output``, ``mlp_output`` or ``other``.
    """
    (_, parent), (_, module) = path[-2:]
    if any(module is output for output in attention_outputs(parent)):
        return SiteRole.ATTENTION_OUTPUT
    return SiteRole.MLP_OUTPUT if any(module is output for output in mlp_outputs(parent)) else SiteRole.OTHER


def attention_outputs(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the output projections of all attention inside a module.

    Args:
        module: The module, which may be attention itself.

    Yields:
        Layers.
    """
    for part in filter(_is_attention, module.modules()):
        yield from (layer for name, layer in _layers(part).items() if _AFTER_ATTENTION.fullmatch(name))


def mlp_outputs(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers that come down to the residual stream, of all MLPs inside a module.

    Args:
        module: The module, which may be an MLP itself.

    Yields:
        Layers.
    """
    for part in filter(_is_mlp, module.modules()):
        yield from (layer for name, layer in _layers(part).items() if _DOWN.fullmatch(name))


def _by_place(place: Sequence[str], owner: nn.Module, leaf: str) -> tuple[SiteRole, Parameters]:
    if isinstance(owner, nn.Sequential):
        return SiteRole.OTHER, _before(owner, leaf)
    if _is_attention(owner):
        return _in_attention(owner, leaf)
    if "embed" in place[-1].lower():
        return SiteRole.EMBEDDINGS, list(owner.parameters())
    if any(isinstance(child, nn.ModuleList) and any(attention_outputs(child)) for child in owner.children()):
        return SiteRole.EMBEDDINGS, _embeddings(owner) or _beside(owner)
    if _HEAD.fullmatch(place[-1]):
        return SiteRole.CLASSIFIER, _beside(owner)
    if any(_HEAD.fullmatch(name) for name, _ in owner.named_children()):
        return SiteRole.CLASSIFIER, _before_classifier(owner) or _beside(owner)
    if _is_mlp(owner) and _is_hidden(owner, leaf):
        return SiteRole.MLP_HIDDEN, _of(layer for name, layer in _layers(owner).items() if _UP.fullmatch(name))
    role, parameters = _in_block(owner, leaf)
    if not parameters and place[-1].endswith("output"):
        is_attention = any("attention" in part or "attn" in part for part in place[-2:])
        return (SiteRole.ATTENTION_OUTPUT if is_attention else SiteRole.MLP_OUTPUT), _beside(owner)
    return role, parameters or _beside(owner)


def _in_attention(owner: nn.Module, leaf: str) -> tuple[SiteRole, Parameters]:
    layers = _layers(owner)
    after = [name for name in layers if _AFTER_ATTENTION.fullmatch(name) or _PLAIN_NORM.fullmatch(name)]
    if re.search(r"out|resid|proj|hidden|post", leaf.replace("dropout", "")):
        return SiteRole.ATTENTION_OUTPUT, _of(layers[name] for name in after)
    # Tables of relative positions are no projections; T5 keeps one in its first layer for all of them.
    before = [layer for name, layer in layers.items() if name not in after and not isinstance(layer, nn.Embedding)]
    own = [parameter for name, parameter in owner.named_parameters(recurse=False) if not _AFTER_ATTENTION.fullmatch(name)]
    role = SiteRole.OTHER if "pos" in leaf else SiteRole.ATTENTION_PROBS  # DeBERTa drops its table of positions
    return role, [*own, *_of(before)]


def _in_block(owner: nn.Module, leaf: str) -> tuple[SiteRole, Parameters]:
    after_attention, after_mlp = _of(attention_outputs(owner)), _of(mlp_outputs(owner))
    if re.search(r"attn|attention", leaf) and after_attention:
        after_mlp = []
    elif re.search(r"mlp|ffn|feed", leaf) and after_mlp:
        after_attention = []
    if after_attention and after_mlp:
        return SiteRole.OTHER, [*after_attention, *after_mlp]
    if after_attention or after_mlp:
        return (SiteRole.ATTENTION_OUTPUT if after_attention else SiteRole.MLP_OUTPUT), after_attention or after_mlp
    return SiteRole.OTHER, []


def _is_attention(module: nn.Module) -> bool:
    names = [*_layers(module), *(name for name, _ in module.named_parameters(recurse=False))]
    return any(_QUERY_KEY_VALUE.fullmatch(name) for name in names)


def _is_mlp(module: nn.Module) -> bool:
    return not _is_attention(module) and all(any(pattern.fullmatch(n) for n in _layers(module)) for pattern in (_UP, _DOWN))


def _is_hidden(owner: nn.Module, leaf: str) -> bool:
    names = [name for name, _ in owner.named_children()]
    if re.search(r"activation|intermediate|inner", leaf) or any(name in ("wi", "wi_0") for name in names):  # T5 has wi
        return True
    kinds = ["up" if _UP.fullmatch(name) else "down" if _DOWN.fullmatch(name) else name for name in names]
    return leaf in kinds and kinds.index("up") < kinds.index(leaf) < kinds.index("down")


def _embeddings(owner: nn.Module) -> Parameters:
    tables = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return _of(child for name, child in owner.named_children() if isinstance(child, tables) or "emb" in name)


def _before_classifier(owner: nn.Module) -> Parameters:
    parts = (part for name, part in owner.named_modules() if name.rpartition(".")[2] in _BEFORE_CLASSIFIER)
    return next((parameters for part in parts if (parameters := list(part.parameters()))), [])


def _before(owner: nn.Sequential, leaf: str) -> Parameters:
    children = dict(owner.named_children())
    earlier = list(children)[: list(children).index(leaf)]
    return next((found for name in reversed(earlier) if (found := list(children[name].parameters()))), [])


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    """Children with parameters that contain no further layers."""
    return {
        name: child
        for name, child in module.named_children()
        if (not any(True for _ in child.children()) or any(hasattr(child, wrapper) for wrapper in _WRAPPERS))
        and any(True for _ in child.parameters())
    }


def _beside(owner: nn.Module) -> Parameters:
    return [*owner.parameters(recurse=False), *_of(_layers(owner).values())]


def _of(modules: Iterable[nn.Module]) -> Parameters:
    return [parameter for module in modules for parameter in module.parameters()]

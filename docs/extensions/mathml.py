"""Formulas as MathML, which browsers show by themselves: pages need no script, and no network to fetch one."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

LOGGER = getLogger(__name__)
SIZE = re.compile(r"\\[bB]ig(?![a-z])")  # of a delimiter, which docutils does not know and MathML can do without


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mathml(formula: str, *, as_block: bool = False) -> str:
    """Return a formula as MathML.

    Args:
        formula: As TeX has it.
        as_block: On a line of its own.

    Returns:
        An element ``math``.
    """
    return str(tex2mathml(SIZE.sub("", formula), as_block=as_block))


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_written(node, as_block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{_written(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def _written(node: nodes.Element, *, as_block: bool) -> str:
    try:
        return mathml(node.astext(), as_block=as_block)
    except MathError as error:
        LOGGER.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{nodes.unescape(node.astext())}</code>"

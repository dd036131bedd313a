"""Names in docstrings and annotations lead to where they are documented: under the public name.

An annotation says ``spectra.esd.power_law.PowerLawFit``, and the reference has ``spectra.PowerLawFit``. A name of ours that is
not public stays plain text, if there is such a thing; else it is a mistake, and nitpicky Sphinx says so.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("missing-reference", public_name)
    return {"parallel_read_safe": True}


def public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """Resolve a reference that Sphinx could not.

    Args:
        app: The build.
        env: With all that is documented.
        node: The reference.
        content: What it shows.

    Returns:
        A link, plain text, or ``None``: nothing has this name.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    found = _exists(target)
    documented = [name for name in env.domains.python_domain.objects if name.rpartition(".")[2] == target.rpartition(".")[2]]
    same = [name for name in documented if found is not None and _exists(name) is found]
    if len(same) > 0:
        shortest = min(same, key=len)
        return env.domains.python_domain.resolve_xref(env, str(node["refdoc"]), app.builder, "obj", shortest, node, content)
    return content if found is not None and target.startswith("spectra.") else None


def _exists(name: str) -> Any:
    """Return what a dotted name stands for, or ``None``."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found
    return None

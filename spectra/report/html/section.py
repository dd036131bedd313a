"""What a section of the page is: values for its partial, and charts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spectra.report.html.chart import Chart


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page.

    Attributes:
        name: In the address and of its partial, ``templates/sections/NAME.html.j2``.
        title: Its heading, and the word for it in the navigation.
        values: What the partial shows, by name; autoescaped there.
        charts: Drawn by the page where the partial puts them.
        data: For the page's script, by name: each stands in an element of its own and is parsed when it is asked for.
    """

    name: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

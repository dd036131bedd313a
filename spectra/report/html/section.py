"""What a page and its sections are: values for partials, and charts."""

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


@dataclass(frozen=True)
class Figure:
    """A number that stands out.

    Attributes:
        label: What it is.
        value: As it is shown.
        detail: What to know beside it.
    """

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page.

    Attributes:
        title: What it is about: the name of a model, a run or a comparison.
        byline: A line under it, in parts.
        sections: In their order.
        files: Where the same numbers lie for other programs.
        version: Of Spectra, which made the numbers.
    """

    title: str
    byline: tuple[str, ...]
    sections: tuple[Section, ...]
    files: tuple[str, ...]
    version: str

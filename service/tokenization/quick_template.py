"""Renders a compiled chat template as jinja2 does, without what it does anew each time and need not.

Two thirds of the calls of `Template.render` go into copying the same names into a fresh context, and into asking before
each `loop.first` whether a sandboxed template may know it. What is written is the same, and the sandbox is as tight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2 import Template
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

LOOP_FACTS: Final = frozenset({"first", "index", "index0", "last", "length", "revindex", "revindex0"})
"""Attributes of `loop` that are plain numbers and truth values. A sandbox lets out every attribute of `loop` that is
neither private nor a string's `format` (jinja2/sandbox.py, `is_safe_attribute`, `wrap_str_format`)."""


class QuickSandbox(ImmutableSandboxedEnvironment):
    """The sandbox of an `ImmutableSandboxedEnvironment`, whose answer on `LOOP_FACTS` is known beforehand."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As the class above does it."""
        if type(obj) is LoopContext and attribute in LOOP_FACTS:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)


def quick_render(template: Template, source: str, given: Mapping[str, Any]) -> Callable[..., str]:
    """What writes exactly `template.render(**given, **more)` when called with `more`, of which none is in `given`.

    Args:
        template: Compiled from `source` in an `ImmutableSandboxedEnvironment` without `async`.
        given: Names that are the same at every call.
    """
    environment = template.environment.overlay()
    if type(environment) is ImmutableSandboxedEnvironment:
        environment.__class__ = QuickSandbox
    quick = environment.from_string(source)
    always = {**quick.globals, **given}

    def render(**more: Any) -> str:
        context = environment.context_class(environment, always | more, quick.name, quick.blocks)
        return environment.concat(quick.root_render_func(context))

    return render

"""Generated functions: how a text made of lines becomes a function with its names at hand.

What the lines are lives in ``avro_encoder`` and ``avro_decoder``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Namespace = dict[str, Any]


def function(
    head: str, body: Iterable[str], names: Mapping[str, Any], state: Mapping[str, Any]
) -> Callable[..., Any]:
    """The function ``head`` (its name, a space, its arguments) with these lines as its body.

    ``names`` are bound as defaults of further arguments, which are the fastest to reach; ``state`` holds
    names that the lines assign and find again in the next call, with their first values.
    """
    name, _, arguments = head.partition(" ")
    defaults = "".join(f", {known}={known}" for known in sorted(names))
    lines = [f"global {', '.join(state)}"] if state else []
    text = "\n    ".join([f"def {name}({arguments}{defaults}):", *lines, *body])
    space = {**names, **state}
    exec(compile(text, f"<generated {name}>", "exec"), space)
    made: Callable[..., Any] = space[name]
    return made

"""What makes the page come sooner.

At each import gradio parses and may rewrite a .pyi file beside every one of its components, for
editors: about half of its import's time. Nothing reads them while a page is served, and the
installation may be read-only. Searches for garbage among all that is imported take a sixth of the
time until the page is served, and find none.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

WRITER = "gradio.component_meta"


class _WithoutStubs(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]


class _Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != WRITER or not (spec := PathFinder.find_spec(name, path, target)):
            return None
        spec.loader = _WithoutStubs(name, str(spec.origin))
        return spec


def import_gradio() -> None:
    sys.meta_path.insert(0, _Finder)
    try:
        import gradio  # noqa: F401
    finally:
        sys.meta_path.remove(_Finder)


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """No search for garbage inside; what was made inside is left out of later ones."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()

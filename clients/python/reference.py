"""Builds the API reference: `python reference.py FOLDER`.

Warnings and public items without a documentation are errors.
"""

from __future__ import annotations

import pathlib
import sys
import warnings
from collections.abc import Iterator

import pdoc.doc
import pdoc.render

import dashgate


def main(folder: pathlib.Path) -> None:
    """Write the pages. The messages of the schema are documented by their stubs."""
    warnings.simplefilter("error")
    # These types are in the stubs of the generated code only.
    for name in ("AsyncStub", "ValueType"):
        warnings.filterwarnings("ignore", message=f"(?s).*{name}")
    library = pdoc.doc.Module(dashgate)
    adopt_members(library)
    if missing := list(undocumented(library)):
        sys.exit("not documented:\n" + "\n".join(missing))
    pdoc.render.configure(docformat="markdown", show_source=False)
    modules = {library.fullname: library}
    folder.mkdir(parents=True, exist_ok=True)
    page = pdoc.render.html_module(library, modules)
    (folder / "dashgate.html").write_text(page, encoding="utf-8")
    (folder / "search.js").write_text(pdoc.render.search_index(modules), encoding="utf-8")


def adopt_members(module: pdoc.doc.Module) -> None:
    """Move the members of private base classes to the public classes that have them."""
    for item in module.members.values():
        if isinstance(item, pdoc.doc.Class):
            is_private = {origin: "._" in origin[0] for origin in item.inherited_members}
            for origin, private in is_private.items():
                if private:
                    item.own_members.extend(item.inherited_members.pop(origin))


def undocumented(module: pdoc.doc.Module) -> Iterator[str]:
    """Give the public items without a documentation."""
    for item in module.members.values():
        if not item.docstring and not item.name.startswith("_"):
            yield item.fullname
        if isinstance(item, pdoc.doc.Class):
            for member in item.own_members:
                if not member.name.startswith("_") and not member.docstring:
                    yield f"{item.fullname}.{member.name}"


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

"""Writes the list of all modules into docs/architecture.md: one line per file, its docstring's.

    python scripts/list_modules.py

A test compares the page with the code, so the list is never out of date.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- modules: begin -->", "<!-- modules: end -->"
PACKAGE = ROOT / "packages" / "riffusion"
FOLDERS = (  # from the top of the house to its ground
    *("cli", "serving", "training", "exporting", "evaluation", "datasets", "promises", "editing"),
    *(
        "generation",
        "loops",
        "engine",
        "light",
        "diffusion",
        "checkpoint",
        "spectrogram",
        "audio",
        "io",
    ),
    "runtime",
)


def main() -> None:
    """Replace the list in the page."""
    PAGE.write_text(page_with_list(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page_with_list(page: str) -> str:
    """The page with today's list between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{module_list()}\n{END}{after}"


def module_list() -> str:
    """A section for each folder, top to bottom, then the modules beside them."""
    sections = [_section(PACKAGE / folder) for folder in FOLDERS]
    names = (
        *("datatypes.py", "unconditional_fields.py", "edit_fields.py"),
        *("music_limits.py", "records.py", "errors.py"),
    )
    sections.append("### `riffusion/`\n" + _table([PACKAGE / name for name in names], PACKAGE))
    sections.append(_section(ROOT / "corpora" / "general_midi"))
    return "\n\n".join(sections)


def _section(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*.py")) if path.name != "__init__.py"]
    # A folder's own modules come before those of the folders in it.
    files.sort(key=lambda path: (len(path.relative_to(folder).parts) > 1, path))
    name = folder.relative_to(ROOT if "corpora" in folder.parts else PACKAGE).as_posix()
    return f"### `{name}/`\n{_summary(folder / '__init__.py')}\n\n{_table(files, folder)}"


def _table(files: list[Path], folder: Path) -> str:
    rows = [f"| `{path.relative_to(folder).as_posix()}` | {_summary(path)} |" for path in files]
    return "\n".join(["| module | |", "|---|---|", *rows])


def _summary(path: Path) -> str:
    """The first sentence or paragraph of a module's docstring, in one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph.replace("|", "\\|")


if __name__ == "__main__":
    main()

"""What MkDocs calls: pages of the repository that are not in docs/, and pages made from the code.

The site has every page at its place in the repository, without `docs/`; the README is its first page.
"""

import os
import pathlib
import re

from mkdocs.structure.files import File

from docs.scripts import pages, reference, runs

ROOT = pathlib.Path(__file__).parents[2]
# Pages outside docs/, by their place in the repository.
OUTSIDE: dict[str, str] = {
    "README.md": "index.md",
    **{
        name: name
        for name in (
            "recipes/README.md",
            "tflite/README.md",
            "tflite/web/README.md",
            "benchmarks/README.md",
            "results/README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
        )
    },
}
SHOWN = (".png", ".jpg", ".svg", ".csv")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")
# GitHub's picture for light and dark readers, which here follows the switch of the theme.
_PICTURE = re.compile(
    r'<picture>\s*<source [^>]*srcset="([^"]+)">\s*<img alt="([^"]*)" src="([^"]+)">\s*</picture>'
)


def on_files(files, config):
    """Adds the pages that are not in docs/, what they show, the notebooks, and what is made from the code."""
    for file in list(files.documentation_pages()):
        if file.src_uri.startswith("guides/"):
            name = pathlib.PurePath(file.src_uri).stem
            text = pages.notebook(file.content_string, config.repo_url)
            files.append(File.generated(config, f"notebooks/{name}.ipynb", content=text))
    for source, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    made = {
        **{f"reference/python/{name}.md": text for name, text in reference.python().items()},
        "reference/programs.md": reference.programs(),
        "reference/recipe-keys.md": reference.recipe_keys(),
        "cards.md": runs.cards(),
    }
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    for file in list(files.documentation_pages()):
        folder = ROOT / os.path.dirname(_source(file.src_uri))
        for found in _LINK.finditer(file.content_string):
            path = (folder / found[3].partition("#")[0]).resolve()
            if path.suffix in SHOWN and path.is_file() and not path.is_relative_to(ROOT / "docs"):
                uri = str(path.relative_to(ROOT))
                if files.get_file_from_path(uri) is None:
                    files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Leads links where the site has what they name, to the repository, or, without an address, nowhere."""
    uri = page.file.src_uri
    if uri == "index.md":
        page.meta["hide"] = ["navigation"]
    if uri == "runs.md":
        page.meta["hide"] = ["toc"]  # a wide table
        markdown = markdown.replace("<!-- runs -->", runs.table())
    if uri.startswith("guides/"):
        name = pathlib.PurePath(uri).stem
        title, _, rest = markdown.partition("\n")
        markdown = (
            f"{title}\n\n[This page as a notebook](../notebooks/{name}.ipynb), for Jupyter"
            f"{' and Colab' if config.repo_url else ''}.\n{rest}"
        )
    markdown = _PICTURE.sub(r"![\2](\3#only-light)![\2](\1#only-dark)", markdown)
    source = pathlib.PurePath(_source(uri))

    def lead(found):
        mark, words, link = found.groups()
        path, sharp, anchor = link.partition("#")
        target = os.path.normpath(str(source.parent / path))
        place = OUTSIDE.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(place) is not None:
            return f"{mark}[{words}]({os.path.relpath(place, os.path.dirname(uri) or '.')}{sharp}{anchor})"
        if not (ROOT / target).exists():
            return found[0]
        return f"[{words}]({config.repo_url}/blob/main/{target})" if config.repo_url else words

    return _LINK.sub(lead, markdown)


def _source(uri):
    """Where the repository has the page of a place in the site."""
    outside = {place: source for source, place in OUTSIDE.items()}
    return outside.get(uri, f"docs/{uri}")

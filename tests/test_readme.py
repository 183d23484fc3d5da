"""What the README and the user's pages say is true: their code runs, their output is real.

`python` blocks are run, `pycon` blocks are doctests, and a `console` block must show exactly what
its `$ poolwise ...` commands print. The blocks of a page share their names, in order.
"""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poolwise.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("compare", "embed", "methods", "semantics", "torch")),
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [code for tag, code in BLOCK.findall(text) if tag == language]


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)
    examples = doctest.DocTestParser()
    for code in blocks(page, "pycon"):
        test = examples.get_doctest(code, names, page, page, 0)
        test.globs = names  # a copy otherwise: later blocks would not see earlier names
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, clear_globs=False)
        assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_console_blocks_show_what_explain_prints(page: str) -> None:
    for code in blocks(page, "console"):
        for session in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
            command, _, shown = session.partition("\n")
            program, *arguments = shlex.split(command)
            assert (program, arguments[0]) == ("poolwise", "explain")
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0
            assert shown.strip() == result.output.strip()


def test_the_readme_has_code_and_output_to_check() -> None:
    assert blocks("README.md", "python")
    assert blocks("README.md", "pycon")
    assert blocks("README.md", "console")


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert all((ROOT / page).parent.joinpath(link).exists() for link in links), links


def test_the_two_commands_are_those_that_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"^    (pip install .*&& .*)$", readme, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert command in script

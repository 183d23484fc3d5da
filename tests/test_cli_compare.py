"""The command: exit statuses, what it prints where, a real Ctrl-C, a real terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from poolwise.cli.app import app
from test_cli_embed import terminal

SMALL = ("--pools", "max:2/2,gap", "--seeds", "3", "--epochs", "1", "--width", "2", "--jobs", "1")


def poolwise(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k in range(12):
        folder = tmp_path / "photos" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16 + k, 12 + k % 5), 20 + 60 * (k % 2)).save(folder / f"{k}.png")
    return tmp_path / "photos"


def test_a_table_the_claims_and_the_files(photos: Path) -> None:
    output = photos.parent / "out"
    result = poolwise("compare", photos, "-o", output, *SMALL)
    assert result.exit_code == 0
    assert "max:2/2" in result.stdout
    assert "Not asked: it takes" in result.stdout
    assert "3 seeds: each is another start of the weights" in result.stdout
    assert f"{output}: report.html, results.csv" in " ".join(result.stdout.split())
    assert "6 of 6 runs: max:2/2+gap, seed 2, error " in result.stderr
    again = poolwise("compare", photos, "-o", output, *SMALL)
    assert "resuming: 6 of 6 runs are finished" in again.stderr


def test_quiet_prints_nothing(photos: Path) -> None:
    result = poolwise("compare", photos, "-o", photos.parent / "out", "--quiet", *SMALL)
    assert (result.exit_code, result.output) == (0, "")


def test_unreadable_files_give_status_1_and_are_named(photos: Path) -> None:
    (photos / "a" / "x.txt").write_text("text")
    result = poolwise("compare", photos, "-o", photos.parent / "out", "--quiet", *SMALL)
    assert result.exit_code == 1
    assert "1 file could not be read:" in result.stderr
    assert "x.txt: not an image" in result.stderr


WRONG = [
    (("nowhere",), "nowhere does not exist"),
    (("photos/a",), "no image in photos/a could be read"),
    (("photos", "--pools", "max:2/2,mox:2/2"), "'mox:2/2' is no pooling"),
    (("photos", "--seeds", "0"), "seeds must be a whole number"),
    (("photos", "--preset", "fast"), "--preset"),
    (("photos", "--device", "abacus"), "device 'abacus' cannot be used"),
    (("photos", "-o", "photos"), "not of poolwise compare"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_use_gives_status_2_and_leaves_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(photos.parent)
    result = poolwise("compare", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert os.listdir() == ["photos"]


def test_the_spelling_is_shown() -> None:
    result = poolwise("compare", "--show-pools")
    assert result.exit_code == 0
    assert "spp:1-2-4 (default)" in result.stdout


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(photos: Path) -> None:
    command = [sys.executable, "-m", "poolwise.cli", "compare", str(photos)]
    command += ["-o", str(photos.parent / "out"), "--pools", "gap,gmp", "--seeds", "3"]
    command += ["--epochs", "100", "--width", "2"]
    process = subprocess.Popen(
        [*command, "--jobs", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("1 of 6 runs: ")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "of 6 runs are kept in" in rest
    assert "the same command goes on" in rest
    assert "Traceback" not in rest
    finished = poolwise(*command[3:], "--jobs", "1")
    assert finished.exit_code == 0
    assert "resuming: " in finished.stderr


def test_a_terminal_gets_a_bar_with_time_left(photos: Path) -> None:
    status, shown = terminal(["compare", str(photos), "-o", str(photos.parent / "out"), *SMALL])
    assert status == 0
    assert "runs, 0:00:" in shown
    assert "left" in shown


def test_help_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from poolwise.cli.app import app\n"
        "try: app(['compare', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'scipy', 'matplotlib', 'jinja2', 'sklearn', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--show-pools" in result.stdout


@pytest.mark.parametrize(("missing", "library"), [("torch", "PyTorch"), ("scipy", "SciPy")])
def test_a_missing_library_is_one_line(missing: str, library: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from poolwise.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "compare", "digits"], capture_output=True, text=True
    )
    assert result.returncode == 2
    said = f'error: poolwise compare needs {library}: pip install "poolwise[compare]"\n'
    assert result.stderr == said

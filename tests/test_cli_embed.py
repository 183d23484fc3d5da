"""The command: exit statuses, what it prints where, a real terminal, missing libraries."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from poolwise.cli import progress
from poolwise.cli.app import app


def poolwise(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(7):
        Image.effect_noise((30 + i, 20), 80).save(folder / f"{i}.png")
    return folder


def test_all_is_well(photos: Path) -> None:
    output = photos.parent / "out.parquet"
    result = poolwise("embed", photos, "-o", output)
    assert result.exit_code == 0
    assert f"{output}: 7 rows of 294 numbers, in " in result.stdout
    assert result.stderr == ""
    again = poolwise("embed", photos, "-o", output)
    assert again.exit_code == 0
    assert "up to date: nothing to do" in again.stdout
    assert pq.read_table(output).num_rows == 7


def test_quiet_prints_nothing(photos: Path) -> None:
    result = poolwise("embed", photos, "-o", photos.parent / "out.npz", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_failures_give_status_1_and_name_the_file(photos: Path) -> None:
    for i in range(8):
        (photos / f"x{i}.txt").write_text("text")
    output = photos.parent / "out.parquet"
    result = poolwise("embed", photos, "-o", output, "--quiet")
    assert result.exit_code == 1
    assert f"8 images failed, listed in {output}.failures.csv:" in result.stderr
    assert "x0.txt: not an image" in result.stderr
    assert "and 3 more" in result.stderr
    assert "--ignore" in result.stderr
    result = poolwise("embed", photos, "-o", output, "--ignore", "*.txt")
    assert result.exit_code == 0
    assert not Path(f"{output}.failures.csv").exists()


WRONG = [
    (("photos",), "Name the output"),
    (("-o", "out.parquet"), "no images: name files"),
    (("nowhere", "-o", "out.parquet"), "no such file or folder: nowhere"),
    (("photos", "-o", "out.txt"), ".parquet or .npz"),
    (("photos", "-o", "no/out.npz"), "no such folder for the output: no"),
    (("photos", "-o", "out.npz", "--levels", "1,,2"), "levels are whole numbers"),
    (("photos", "-o", "out.npz", "--levels", "0"), "levels must be positive"),
    (("photos", "-o", "out.npz", "--levels", "1x2x3"), "levels are whole numbers"),
    (("photos", "-o", "out.npz", "--pool", "sum"), "--pool"),
    (("photos", "-o", "out.npz", "--backbone", "vgg"), "backbone must be gradients or onnx:FILE"),
    (("photos", "-o", "out.npz", "--backbone", "onnx:x.onnx"), "cannot read the model x.onnx"),
    (("photos", "-o", "out.npz", "--mean", "a"), "--mean is one number or three"),
    (("photos", "-o", "out.npz", "--workers", "0"), "workers must be at least 1"),
    (("photos", "-o", "out.npz", "--max-side", "-2"), "max_side must be"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_use_gives_status_2_and_one_line(
    photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(photos.parent)
    result = poolwise("embed", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert os.listdir() == ["photos"]


def test_info_on_a_file_and_on_the_installation(photos: Path) -> None:
    output = photos.parent / "out.parquet"
    poolwise("embed", photos, "-o", output, "--pool", "max", "--normalize")
    result = poolwise("info", output)
    assert "7 rows of 294 numbers, complete" in result.stdout
    assert "normalize: True" in result.stdout
    assert poolwise("info", photos / "0.png").exit_code == 2
    assert "[demo]: pillow" in poolwise("info").stdout
    assert poolwise("--version").stdout.startswith("poolwise ")


def test_lines_come_every_few_seconds_not_per_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress.Lines()
    lines.start(1000, 200)
    for _ in range(400):
        now[0] += 0.03
        lines.advance(1, failed=now[0] < 0.05)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "resuming: 200 of 1000 images are finished"
    assert said[1] == "367 of 1000 images, 33 images/s, 0:00:19 left, 1 failed"
    assert len(said) == 3


def terminal(arguments: list[str]) -> tuple[int, str]:
    """Run in a pseudo-terminal and give back all it showed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "poolwise.cli", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(follower)
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(leader, 65536)
        except OSError:  # Linux says so when the other end has closed
            break
        if not data:
            break
        shown += data
    os.close(leader)
    return process.wait(timeout=30), shown.decode()


def test_a_terminal_gets_a_bar(photos: Path) -> None:
    status, shown = terminal(["embed", str(photos), "-o", str(photos.parent / "out.npz")])
    assert status == 0
    assert "7/7" in shown
    assert "images/s" in shown
    assert "left" in shown


def test_help_is_quick_and_loads_no_imaging() -> None:
    code = (
        "import sys\n"
        "from poolwise.cli.app import app\n"
        "try: app(['embed', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'PIL', 'pyarrow', 'onnxruntime', 'matplotlib', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--onnx-output" in result.stdout


@pytest.mark.parametrize(
    ("missing", "library", "output"),
    [
        ("typer", "typer", "out.npz"),
        ("PIL", "Pillow", "out.npz"),
        ("pyarrow", "pyarrow", "out.parquet"),
    ],
)
def test_a_missing_library_is_one_line(
    photos: Path, missing: str, library: str, output: str
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from poolwise.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "embed", str(photos), "-o", str(photos.parent / output)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert f'{library}: pip install "poolwise[demo]"' in result.stderr
    assert result.stderr.count("\n") == 1


def test_names_a_terminal_cannot_show_do_not_end_the_run(photos: Path) -> None:
    for name in ("ü✓.jpg", os.fsdecode(b"caf\xe9.jpg")):
        (photos / name).write_bytes(b"")
    result = subprocess.run(
        [sys.executable, "-m", "poolwise.cli", "embed", str(photos), "-o", "out.npz"],
        capture_output=True,
        cwd=photos.parent,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert result.returncode == 1
    assert rb"caf\xe9.jpg: empty file" in result.stderr
    assert result.stderr.count(b".jpg: empty file") == 2

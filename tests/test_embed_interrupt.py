"""Real ends of real processes: kill −9, Ctrl-C, SIGTERM, a disk that takes no more."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from poolwise.embed.formats import format_for

COUNT, BLOCK = 80, 8

# The command, with small blocks and slow images, so that it can be stopped at half way.
COMMAND = """
import sys, time
from poolwise.embed import pipeline, rows
rows.BLOCK_ROWS = pipeline._CHUNK_MAPS = 8
decode, delay = pipeline.decode, float(sys.argv.pop(1))
def slow(image, **options):
    time.sleep(delay)
    return decode(image, **options)
pipeline.decode = slow
from poolwise.cli import main
main()
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupt") / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(COUNT):
        height, width = random.integers(8, 64, 2)
        noise = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{i:03}.png")
    (folder / "050-broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module", params=[".parquet", ".npz"])
def uninterrupted(request: pytest.FixtureRequest, photos: Path) -> Path:
    output = photos.parent / f"whole{request.param}"
    assert run(photos, output, delay=0).returncode == 1  # one image is broken
    return output


def start(photos: Path, output: Path, *, delay: float) -> subprocess.Popen[str]:
    arguments = ["embed", str(photos), "-o", str(output), "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(delay), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(photos: Path, output: Path, *, delay: float) -> subprocess.CompletedProcess[str]:
    process = start(photos, output, delay=delay)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stop_after(process: subprocess.Popen[str], output: Path, parts: int, number: int) -> str:
    """Send a signal once there are so many parts; give back what the command said."""
    folder = Path(f"{output}.parts")
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part-*"))) < parts:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return "".join(process.communicate(timeout=30))


def count(path: Path) -> int:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return len(arrays["vector"])
    return len(pq.read_table(path))


def left_over(output: Path) -> list[str]:
    return sorted(p.name for p in output.parent.iterdir() if p.name.startswith(output.name))


def test_kill_9_at_half_way_then_the_same_command(
    photos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"out{uninterrupted.suffix}"
    for parts in (3, 6):  # twice, for good measure
        process = start(photos, output, delay=0.02)
        stop_after(process, output, parts, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not output.exists()
        found = sorted(Path(f"{output}.parts").glob("part-*"))
        assert len(found) >= parts
        assert [count(part) for part in found] == [BLOCK] * len(found)
        if output.suffix == ".parquet":
            assert len(pq.read_table(f"{output}.parts")) == BLOCK * len(found)
    result = run(photos, output, delay=0)
    assert result.returncode == 1
    assert "resuming: " in result.stderr
    assert "050-broken.png: damaged" in result.stderr
    assert output.read_bytes() == uninterrupted.read_bytes()
    assert left_over(output) == [output.name, f"{output.name}.failures.csv"]


def test_ctrl_c_leaves_a_file_of_what_is_finished(
    photos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"out{uninterrupted.suffix}"
    process = start(photos, output, delay=0.02)
    said = stop_after(process, output, 3, signal.SIGINT)
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    finished = count(output)
    assert 3 * BLOCK <= finished < COUNT
    assert f"{finished} of {COUNT + 1} images are finished" in said
    assert format_for(output).head(output).metadata["complete"] is False
    result = run(photos, output, delay=0)
    assert f"{finished} of them kept from before" in result.stdout
    assert output.read_bytes() == uninterrupted.read_bytes()


def test_sigterm_is_as_polite(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    process = start(photos, output, delay=0.02)
    said = stop_after(process, output, 2, signal.SIGTERM)
    assert process.returncode == 143
    assert f"{count(output)} of {COUNT + 1} images are finished" in said


def test_a_second_ctrl_c_does_not_wait(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    process = start(photos, output, delay=1)
    while not Path(f"{output}.parts").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = "".join(process.communicate(timeout=20))
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_disk_that_takes_no_more(photos: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """The kernel's own refusal (a limit on file size) while the output is written."""
    output = tmp_path / f"out{uninterrupted.suffix}"
    limit = uninterrupted.stat().st_size // 2  # room for parts, not for the output
    arguments = [sys.executable, "-c", COMMAND, "0", "embed", str(photos), "-o", str(output)]
    result = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 3
    assert "error: cannot write" in result.stderr
    assert "the same command goes on from there" in result.stderr
    assert "Traceback" not in result.stderr
    assert not output.exists()
    assert run(photos, output, delay=0).returncode == 1
    assert output.read_bytes() == uninterrupted.read_bytes()


def test_ignored_signals_stay_ignored() -> None:
    """As under nohup: who started us decided."""
    from poolwise.embed.interrupt import StopSignals

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert not signals.stopped()
    finally:
        signal.signal(signal.SIGINT, before)

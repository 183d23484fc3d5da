"""report.html: one file, nothing from outside, valid ids, in both colour schemes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from _compare_sets import corners
from poolwise.compare import Dataset, compare
from poolwise.compare.plots import INK

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Collects ids, addresses and text, and checks that elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    data = corners(16, 16)
    named = Dataset(
        **{
            **vars(data),
            "name": "<b>mine</b>",
            "notes": ("a note & <i>more</i>",),
            "failures": (("bad<script>.png", "damaged"),),
        }
    )
    output = tmp_path_factory.mktemp("report")
    pools = "max:2/2,max:3/2,avg:2/2,lp2:2/2,gap,crop,multi"
    compare(named, output, pools=pools, seeds=3, epochs=1, width=2)
    return Path(output, "report.html").read_text("utf-8")


def test_nothing_comes_from_outside(text: str) -> None:
    page = Page(text)
    assert page.addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in text
    outside = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_elements_close_and_ids_are_unique(text: str) -> None:
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids)) > 50
    wanted = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    assert wanted
    assert wanted <= set(page.ids)


def test_light_dark_and_phones(text: str) -> None:
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport" content="width=device-width' in text
    assert INK not in text
    assert text.count("var(--ink)") > 20
    assert text.count("<svg") == text.count('role="img"') == 5


def test_maps_and_winners_are_pictures(text: str) -> None:
    assert text.count("<image") == 10  # image, map, two with winners, four kept, last map, bins


def test_what_users_name_is_text(text: str) -> None:
    assert "&lt;b&gt;mine&lt;/b&gt;" in text
    assert "<b>mine" not in text
    assert "bad&lt;script&gt;.png" in text
    assert "a note &amp; &lt;i&gt;" in text


def test_every_method_and_claim_is_there(text: str) -> None:
    words = " ".join(" ".join(Page(text).words).split())
    for name in ("max:2/2", "max:3/2", "avg:2/2", "lp2:2/2", "gap", "crop", "multi"):
        assert name in words
    assert "Overlapping max pooling lowers the error" in words
    assert "Not asked: it takes spp:1-2-4 and spp:4 in --pools." in words
    assert "each is another start of the weights" in words

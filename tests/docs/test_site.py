"""The built site: complete, readable without network, with mathematics, pictures and search, fitting the window."""

import hashlib
import json
import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.browser import find_browser, look_at

ROOT = Path(__file__).parents[2]
TUTORIAL = "tutorial/backpropagation-through-time"
CHINESE = runpy.run_path(str(ROOT / "docs" / "site.py"))["CHINESE"]


class Elements(HTMLParser):
    """What a page loads, links to and is linked by; and its text outside code."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.loads, self.links, self.ids, self.classes = path, [], [], set(), []
        self.text, self._code = "", 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        self.classes += [(tag, name) for name in (given.get("class") or "").split()]
        self._code += tag in ("pre", "code", "script", "style")
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loads.append(given["src"])
        elif tag == "link" and given.get("rel") != "canonical":
            self.loads.append(given["href"])
        elif tag == "a" and given.get("href"):
            self.links.append(given["href"])

    def handle_endtag(self, tag):
        self._code -= tag in ("pre", "code", "script", "style")

    def handle_data(self, data):
        self.text += "" if self._code else data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Elements]:
    return {path.relative_to(site).as_posix(): Elements(path) for path in site.rglob("*.html")}


def test_the_site_has_all_pages(site, pages):
    applications = {f"apps/{path.parent.name}.html" for path in ROOT.glob("apps/*/README.md")}
    assert applications | {"index.html", "overview.html", "overview.zh.html", "new-app.html"} <= set(pages)
    assert "check_cell" in (site / "reference" / "recurrence.html").read_text(encoding="utf-8")


def test_what_a_page_loads_is_in_the_site(pages):
    elsewhere = [(name, url) for name, page in pages.items() for url in page.loads if urlsplit(url).netloc]
    assert not elsewhere
    missing = [(name, url) for name, page in pages.items() for url in page.loads if not target(page, url).is_file()]
    assert not missing


def test_links_lead_to_pages_and_places_that_are_there(pages):
    places = {page.path: page.ids | {""} for page in pages.values()}
    links = [(page, url) for page in pages.values() for url in page.links if not urlsplit(url).scheme]
    broken = [url for page, url in links if urlsplit(url).fragment not in places.get(target(page, url), ())]
    assert not broken


def target(page: Elements, url: str) -> Path:
    path = unquote(urlsplit(url).path)
    return Path(os.path.normpath(page.path.parent / path)) if path else page.path


def test_pictures_of_readmes_are_shown(site, pages):
    assert "image/completions.png" in pages["apps/image.html"].loads
    shown, drawn = site / "apps" / "image" / "completions.png", ROOT / "apps" / "image" / "completions.png"
    assert shown.read_bytes() == drawn.read_bytes()
    assert "figures/results.png" in pages["overview.zh.html"].loads


@pytest.mark.parametrize("language", ["", ".zh"])
def test_mathematics_is_handed_to_katex(pages, language):
    written = (ROOT / "docs" / f"{TUTORIAL}{language}.md").read_text(encoding="utf-8").count("```math\n")
    assert pages[f"{TUTORIAL}{language}.html"].classes.count(("div", "arithmatex")) == written > 0


def test_no_mathematics_is_left_as_it_was_typed(pages):
    assert [name for name, page in pages.items() if re.search(r"\$\$|\$[\\A-Za-z][^$\n]*\$", page.text)] == []
    assert [name for name, page in pages.items() if ("code", "language-math") in page.classes] == []


def test_vendored_files_are_the_published_ones():
    vendor = ROOT / "docs" / "vendor"
    stated = dict(line.split()[::-1] for line in (vendor / "SHA256SUMS").read_text().splitlines())
    ours = {"README.md", "SHA256SUMS"}
    files = {path.relative_to(vendor).as_posix() for path in vendor.rglob("*") if path.is_file()} - ours
    assert {f"./{name}": hashlib.sha256((vendor / name).read_bytes()).hexdigest() for name in files} == stated
    assert {path.name for path in vendor.iterdir()} - ours == {path.parent.name for path in vendor.glob("*/LICENSE")}, (
        "each package with its licence"
    )


def test_the_search_index_holds_every_page(site, pages):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {entry["location"].partition("#")[0] for entry in index["docs"]} == set(pages)
    assert (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index = {")
    separator = re.compile(index["config"]["separator"])
    assert list(filter(None, separator.split("train.epochs: 1.5"))) == ["train", "epochs", "1.5"]
    assert not separator.match("隐"), "the parser of queries asks of single characters whether they are separators"
    words = {word for entry in index["docs"] for word in separator.split(re.sub("<[^>]*>", " ", entry["text"]))}
    assert set("隐藏状态") <= words and not [word for word in words if re.search(f"{CHINESE}.|.{CHINESE}", word)]


def test_lines_do_not_end_inside_an_option_nor_before_a_per_cent_sign_nor_with_a_space_in_chinese(pages):
    assert '<span class="option">--by</span> model.cell' in pages["compare.html"].path.read_text(encoding="utf-8")
    assert "96.3&nbsp;%" in pages["overview.html"].path.read_text(encoding="utf-8")
    chinese = pages["overview.zh.html"].path.read_text(encoding="utf-8")
    assert not re.search(f"{CHINESE}\n{CHINESE}", re.sub(r"<pre.*?</pre>", "", chinese, flags=re.DOTALL))


def test_in_a_browser_nothing_is_cut_off_and_search_finds(site, pages, tmp_path):
    """Opened as files, at 1300 and 400 pixels: no server, no network."""
    browser = find_browser()
    if browser is None:
        pytest.skip("no chromium or chrome on this machine")
    queries = {"check_cell": "The core alone", "隐藏状态": "随时间反向传播：逐项推导"}
    seen = look_at(browser, site, sorted(pages), list(queries), tmp_path)
    assert len(seen["pages"]) == 2 * len(pages)
    faults = ("wider", "cut", "pictures", "mathematics")
    assert [page for page in seen["pages"] if any(page[fault] for fault in faults)] == []
    for query, title in queries.items():
        assert title in seen["found"][query][:3], (query, seen["found"][query])
    assert all(width > 200 for width in seen["box"].values()), seen["box"]

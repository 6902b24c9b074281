"""Look at pages with a headless Chromium and no driver: a page of ours opens each in a frame, and posts what it saw."""

import json
import os
import shutil
import signal
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 120
"""for all pages together; a machine with nothing else to do takes a tenth"""

SCRIPT = r"""
const until = async (met) => {
  for (let tries = 0; tries < 300 && !met(); tries++) await new Promise((done) => setTimeout(done, 50));
};
const open = async (page, width) => {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  frame.src = page;
  document.body.append(frame);
  await new Promise((done) => (frame.onload = done));
  return frame;
};
const overflows = (element) => element.scrollWidth > element.clientWidth + 1;
const leaves = (element) =>
  element.getBoundingClientRect().right > element.closest(".md-content__inner").getBoundingClientRect().right + 1;
const scrolls = (element) => element.closest(".language-text, .md-typeset__scrollwrap"); // meant so on a narrow screen
const look = (page, width, document) => ({
  page, width,
  wider: document.documentElement.scrollWidth > width,
  cut: [...document.querySelectorAll(".md-content :is(pre > code, table)")]
    .filter((element) => width > 1000 ? overflows(element) || leaves(element) : overflows(element) && !scrolls(element))
    .map((element) => element.textContent.trim().slice(0, 60)),
  pictures: [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src),
  mathematics: [...document.querySelectorAll(".katex-error, .arithmatex:not(:has(.katex))")]
    .map((element) => element.textContent.slice(0, 60)),
});
const visit = async (page) => {
  const seen = [];
  const frame = await open(page, WIDTHS[0]);
  for (const width of WIDTHS) {
    frame.style.width = `${width}px`;
    await new Promise((done) => setTimeout(done, 30)); // a frame's layout follows its width
    seen.push(look(page, width, frame.contentDocument));
  }
  frame.remove();
  return seen;
};
const search = async (width, queries) => {
  const frame = await open(PAGES.find((page) => page.endsWith("index.html")), width);
  const find = (selector) => [...frame.contentDocument.querySelectorAll(selector)];
  const found = {}, button = find("label.md-header__button[for=__search]")[0], [input] = find(".md-search__input");
  if (button.offsetWidth) button.click();
  await until(() => input.offsetWidth > 200);
  for (const query of queries) {
    input.focus();
    input.value = query;
    input.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
    const title = (item) => item.querySelector("h1").textContent.replaceAll("\u200b", "");
    const shown = () => find(".md-search-result__item").map(title);
    const before = JSON.stringify(shown());
    await until(() => shown().length && JSON.stringify(shown()) != before);
    found[query] = shown();
  }
  return { found, box: input.offsetWidth };
};
(async () => {
  const result = { pages: [], box: {} };
  try {
    for (const page of PAGES) result.pages.push(...(await visit(page)));
    for (const width of WIDTHS) {
      const { found, box } = await search(width, QUERIES);
      result.found = found;
      result.box[width] = box;
    }
  } catch (error) {
    result.error = `${error.stack}`;
  }
  await fetch(ANSWER, { method: "POST", mode: "no-cors", body: JSON.stringify(result) });
})();
"""


def find_browser() -> str | None:
    """The path of a Chromium or Chrome, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def look_at(browser: str, site: Path, pages: list[str], queries: list[str], scratch: Path) -> dict[str, Any]:
    """Open each page at 1300 and 400 pixels, and search from the first one.

    Returns "pages" (what is wrong with each at each width), "found" (titles by query) and "box" (the width of the
    search box by that of the window, in pixels).

    Raises TimeoutError if the browser does not answer, RuntimeError with what went wrong in it.
    """
    with _Answer(("127.0.0.1", 0), _Handler) as server:
        values = {
            "PAGES": [(site / page).as_uri() for page in pages], "QUERIES": queries, "WIDTHS": [1300, 400],
            "ANSWER": f"http://127.0.0.1:{server.server_port}/",
        }  # fmt: skip
        constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in values.items())
        opener = scratch / "look.html"
        opener.write_text(f'<meta charset="utf-8"><body><script>{constants}{SCRIPT}</script>', encoding="utf-8")
        process = _start(browser, opener, scratch)
        try:
            server.timeout = SECONDS
            server.handle_request()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if server.answer is None:
        raise TimeoutError(f"{browser} did not answer within {SECONDS} s")
    if "error" in server.answer:
        raise RuntimeError(server.answer["error"])
    return server.answer


def _start(browser: str, page: Path, scratch: Path) -> subprocess.Popen[bytes]:
    flags = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--allow-file-access-from-files", "--disable-web-security",  # the opener reads its frames, and may answer
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={scratch / 'profile'}",
    ]  # fmt: skip
    return subprocess.Popen(
        [browser, *flags, page.as_uri()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


class _Answer(HTTPServer):
    answer: dict[str, Any] | None = None


class _Handler(BaseHTTPRequestHandler):
    server: _Answer

    def do_POST(self) -> None:
        self.server.answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal is the tests'."""

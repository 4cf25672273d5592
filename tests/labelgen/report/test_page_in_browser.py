"""The pages in headless Chromium: tables sort, pictures load, nothing is asked of anybody, no error, phone width."""

import shutil
from itertools import product
from urllib.parse import urlparse

import pytest

from labelgen.cli import main
from labelgen.data.open import open_data
from tests.labelgen.report.small_data import write_data, write_labels

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow

PATIENCE = 180_000  # milliseconds: a browser on a machine that has other things to do
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")


@pytest.fixture(scope="module")
def browser():
    """Chromium of this machine, or that of playwright; skips where there is neither."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as started:
        try:
            found = started.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=PATIENCE)
        except playwright.Error as error:
            pytest.skip(f"no Chromium starts here: {str(error).splitlines()[0]}")
        yield found
        found.close()


class Visit:
    """An open page, what it asked for, and what it complained of."""

    def __init__(self, browser, path, *, width=1280, scripts=True):
        self.folder = path.resolve().parent
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="light", java_script_enabled=scripts
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.asked, self.complaints = [], []
        self.page.route("**/*", self._let_through)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url[:200]))
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_load_state("load")

    def _let_through(self, route):
        self.asked.append(route.request.url)
        route.continue_() if urlparse(route.request.url).scheme in ("file", "data") else route.abort()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def look(self, width, scheme):
        """At a width, light or dark: which style.css alone knows of, so that it is the page that opens so."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function("width => window.innerWidth === width", arg=width)

    def check(self):
        """What holds for every page."""
        schemes = {urlparse(url).scheme for url in self.asked}
        assert schemes <= {"file", "data"} and self.complaints == []
        inside = self.folder.as_uri()
        assert all(url.startswith((inside, "data:")) for url in self.asked)
        widths = self.page.evaluate("Array.from(document.images, image => [image.complete, image.naturalWidth])")
        assert all(complete and width > 0 for complete, width in widths)
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        return len(widths)

    def column(self, title, number):
        rows = self.page.locator(".block", has=self.page.get_by_role("heading", name=title, exact=True)).locator(
            "tbody tr"
        )
        return rows.locator(f":nth-child({number})").all_inner_texts()

    def sort_by(self, title, column):
        block = self.page.locator(".block", has=self.page.get_by_role("heading", name=title, exact=True))
        block.get_by_role("button", name=column, exact=True).click()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Pages over demo runs: one run, standalone, two runs beside each other, and those of quality and sweep."""
    root = tmp_path_factory.mktemp("reports")
    for level in ("0.1", "0.4"):
        assert main(["corrupt", "demo:6", "--level", level, "--out", str(root / "runs" / level), "--no-sheet"]) == 0
    one, two = str(root / "runs" / "0.4"), str(root / "runs" / "0.1")
    assert main(["report", one, "--out", str(root / "one")]) == 0
    assert main(["report", one, "--out", str(root / "alone"), "--standalone"]) == 0
    assert main(["report", two, one, "--out", str(root / "two")]) == 0
    assert main(["quality", one, two, "--html", str(root / "quality.html")]) == 0
    sweep = ["sweep", "corrupt", "demo:3", "--level", "0.1,0.5", "--out", str(root / "sweep")]
    assert main([*sweep, "--no-sheet", "--html", str(root / "sweep.html")]) == 0
    return root


def numbers(texts):
    return [float(text) for text in texts if text != "-"]


def test_the_table_sorts(browser, reports):
    with Visit(browser, reports / "one" / "index.html") as visit:
        before = visit.column("By class", 7)
        assert len(before) > 3 and numbers(before) != sorted(numbers(before), reverse=True)
        visit.sort_by("By class", "IoU")
        down = visit.column("By class", 7)
        assert numbers(down) == sorted(numbers(before), reverse=True) and "-" not in down[: len(numbers(down))]
        visit.sort_by("By class", "IoU")
        up = visit.column("By class", 7)
        assert numbers(up) == sorted(numbers(before))
        for _ in range(2):  # no value comes last either way
            visit.sort_by("By class", "most often taken for")
            shares = [text.rpartition(" ")[0].rpartition(" ")[2] for text in visit.column("By class", 10)]
            assert shares[0] and shares == sorted(shares, key=lambda share: share == "")
        visit.sort_by("By class", "class")
        names = visit.column("By class", 1)
        assert names == sorted(names) and len(names) == len(before)
        visit.sort_by("By class", "truth px")
        pixels = [int(text.replace("\N{NARROW NO-BREAK SPACE}", "")) for text in visit.column("By class", 2)]
        assert pixels == sorted(pixels, reverse=True)
        visit.check()


def test_pictures_load_and_nothing_leaves_the_file(browser, reports):
    counts = {}
    for name in ("one", "alone", "two"):
        with Visit(browser, reports / name / "index.html") as visit:
            for width, scheme in product((1280, 390), ("light", "dark")):
                visit.look(width, scheme)
                counts[name] = visit.check()
                paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert counts["one"] == counts["alone"] == 6 * 4 < counts["two"]


@pytest.mark.parametrize("name", ["quality.html", "sweep.html"])
def test_pages_of_other_commands(browser, reports, name):
    with Visit(browser, reports / name, width=390) as visit:
        visit.check()
        assert visit.page.locator("svg.plot").count() >= 1
        assert visit.page.locator("th button").count() >= 5
        assert visit.page.get_by_text("How these figures are counted").count() == 2


def test_filters(browser, reports):
    with Visit(browser, reports / "one" / "index.html") as visit:
        page = visit.page
        cards = page.locator(".card")
        assert cards.count() == 6
        classes = [eval(card.get_attribute("data-classes")) for card in cards.all()]
        name = next(name for found in classes for name in found if sum(name in other for other in classes) < 6)
        page.locator(".filter select").select_option(name)
        assert page.locator(".card:visible").count() == sum(name in found for found in classes)
        page.locator(".filter select").select_option("")
        assert page.locator(".card:visible").count() == 6
        visit.check()


def test_rows_of_a_long_table_are_filtered(browser, tmp_path):
    ids = [f"image{number}" for number in range(13)]
    truth = write_data(tmp_path, ids, ["ground", *(f"thing {number}" for number in range(12)), "a dog"])
    assert main(["report", str(write_labels(tmp_path, ids)), "--truth", *truth, "--out", str(tmp_path / "out")]) == 0
    with Visit(browser, tmp_path / "out" / "index.html") as visit:
        rows = visit.page.locator("#run-1 tbody tr:visible")
        assert rows.count() == 14
        visit.page.locator(".tools input").first.fill("DOG")
        assert rows.count() == 1
        visit.check()


def test_a_card_grows_when_it_is_asked_for(browser, reports):
    with Visit(browser, reports / "one" / "index.html", scripts=False) as visit:
        card = visit.page.locator(".card").first
        before = card.bounding_box()["width"]
        card.locator("h4 a").first.click()
        assert card.bounding_box()["width"] > 2 * before
        card.locator("a.close").click()
        assert card.bounding_box()["width"] == before


def test_without_scripts_all_is_there(browser, reports):
    with Visit(browser, reports / "two" / "index.html", scripts=False) as visit:
        page = visit.page
        assert page.locator("th button").count() == 0 and page.locator(".tools").count() == 0
        assert page.get_by_role("heading", name="Where the runs differ most").is_visible()
        assert page.locator(".card:visible").count() == page.locator(".card").count() > 6
        assert visit.complaints == []


def test_hostile_names_do_nothing(browser, tmp_path):
    ids = ["<img src=x onerror=document.title='pwned'>", "plain"]
    try:
        truth = write_data(tmp_path, ids, ["ground", "<script>document.title=1</script>", '"onclick="x'])
    except OSError as error:
        pytest.skip(f"such names are not allowed here: {error}")
    labels = write_labels(tmp_path, ids)
    assert main(["report", str(labels), "--truth", *truth, "--out", str(tmp_path / "out")]) == 0
    with Visit(browser, tmp_path / "out" / "index.html") as visit:
        assert visit.check() == 8
        assert visit.page.title() == "Label quality: labels"
        assert visit.page.locator(".card h4", has_text=ids[0]).count() == 1
        visit.page.locator(".filter select").select_option("<script>document.title=1</script>")
        assert visit.page.locator(".card:visible").count() == 1 and visit.page.title() == "Label quality: labels"


@pytest.mark.realdata
def test_a_report_on_real_images(browser, shared_data, tmp_path):
    data = f"voc:{shared_data / 'voc2012-animals'}"
    run = tmp_path / "runs" / "corrupt"
    words = ["--split", "train", "--limit", "40"]
    assert main(["corrupt", data, *words, "--kind", "classes=0.35,mixed=0.35", "--out", str(run)]) == 0
    out = tmp_path / "out"
    assert main(["report", str(run), "--out", str(out)]) == 0
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert 500_000 < size < 5_000_000
    with Visit(browser, out / "index.html") as visit:
        assert visit.check() == 35 * 4
        visit.sort_by("By class", "precision")
        found = numbers(visit.column("By class", 5))
        assert found == sorted(found, reverse=True) and len(found) >= 8
    assert open_data(data, split="train", limit=40).ids == tuple(
        sorted(path.stem for path in (run / "labels").iterdir())
    )

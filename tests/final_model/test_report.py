"""The report: complete, self-contained, and the same bytes for the same results."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from result_fixtures import write_results

from final_model_stage import report
from final_model_stage.reporting.templates import fill
from preprocessing_stage.dataset.class_tree import ClassTree

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Addresses and texts; fails where tags do not close in order."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.texts, self._open = [], [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self._open.append(tag)
        found = dict(attrs)
        self.addresses += [found[key] for key in ("src", "href") if key in found]
        self.ids += [found["id"]] if "id" in found else []
        if tag == "img":
            assert found["alt"]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture(scope="module", params=["tree", "deep_tree"])
def any_tree(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def made(any_tree, tiny_params, tmp_path_factory):
    """Params, results and their page."""
    params = tiny_params(tree=any_tree.to_dict(), **{"data.description": "Cats & <dogs>"})
    results = write_results(tmp_path_factory.mktemp("run") / "results", any_tree)
    return params, results, report.report(params, results)


def test_every_class_expert_and_level_is_there(made, any_tree):
    texts = Page(made[2]).texts
    for node in any_tree.root.walk():
        assert node.name.replace("_", " ") in texts
    assert texts.count("mIoU") >= any_tree.depth
    figures = json.loads((made[1] / "final/metrics.json").read_text())
    for k in range(any_tree.depth):
        low, high = figures["interval"][f"mIoU_{k}"].values()
        assert f"{figures[f'mIoU_{k}']:.3f}" in texts
        assert f"{low:.3f} to {high:.3f}" in texts
        assert f"{figures['per_image'][f'mIoU_{k}']:.3f}" in texts
    assert any("longest_side: 32" in text for text in texts)
    assert "nan" not in made[2].split("</style>")[1].lower().split()


def test_a_row_of_the_confusion_is_a_true_class(made, any_tree):
    [table] = re.findall(r'<table class="confusion">.*?</table>', made[2], re.S)
    head, *rows = (Page(row).texts for row in re.findall(r"<tr.*?</tr>", table, re.S))
    predicted = [text for text in head if text][1:]
    with (made[1] / "final/confusion.csv").open(newline="") as file:
        counts = {row.pop("truth"): row for row in csv.DictReader(file)}
    names = [leaf.name for leaf in any_tree.root.leaves()]
    assert predicted == [name.replace("_", " ") for name in names]
    for name, row in zip(names, rows, strict=True):
        total = sum(map(int, counts[name].values()))
        shares = [f"{100 * int(counts[name][other]) / total:.0f}" for other in names]
        assert [text for text in row if text] == [name.replace("_", " "), *shares]


def test_what_packing_found_is_linked_from_the_top(made, tmp_path):
    params, results, page = made
    assert page.index('<a href="#findings">1 thing in the data</a>') < page.index('id="figures"')
    findings = results / "data/findings.csv"
    before = findings.read_text()
    findings.write_text("finding\n'<b>' is odd\ngive `--exif stored`\n")
    several = report.report(params, results)
    findings.write_text("finding\n")
    none = report.report(params, results)
    findings.write_text(before)
    assert '<a href="#findings">2 things in the data</a>' in several
    assert "<li>Give <code>--exif stored</code>.</li>" in several and "&lt;b&gt;" in several
    assert "findings" not in none


def test_nothing_comes_from_elsewhere(made):
    page = Page(made[2])
    anchors = [a for a in page.addresses if a.startswith("#")]
    curves = [a for a in page.addresses if a.startswith("data:image/")]
    beside = [a for a in page.addresses if a.startswith(("pictures/", "data/"))]
    assert len(anchors) + len(curves) + len(beside) == len(page.addresses)
    assert beside and all((made[1] / a).is_file() for a in beside)
    assert {a.removeprefix("#") for a in anchors} == set(page.ids)
    assert not re.search(r"url\(|@import|<script", made[2])


def test_words_of_params_are_escaped(made):
    assert "Cats &amp; &lt;dogs&gt;" in made[2]
    assert "<dogs>" not in made[2]


def test_the_same_results_give_the_same_bytes(made):
    assert report.report(made[0], made[1]) == made[2]
    assert not re.search(r"20\d\d-\d\d-\d\d", made[2])


def test_a_sheet_that_was_not_drawn_is_left_out(made, tmp_path):
    params, results, page = made
    results.joinpath("pictures/worst.jpg").rename(tmp_path / "worst.jpg")
    try:
        without = report.report(params, results)
    finally:
        (tmp_path / "worst.jpg").rename(results / "pictures/worst.jpg")
    assert page.count("<img") - without.count("<img") == 1


def test_a_run_without_a_common_network_has_only_its_experts(made, any_tree, tmp_path):
    params, results, page = made
    (results / "experts/shared").rename(tmp_path / "shared")
    try:
        without = report.report(params, results)
    finally:
        (tmp_path / "shared").rename(results / "experts/shared")
    assert page.count("epochs,") == without.count("epochs,") + 1 == len(any_tree.experts) + 1


def test_a_single_level_has_no_errors_from_above(tiny_params, tmp_path):
    tree = ClassTree({"image": {"background": 0, "cat": 1, "dog": 2}})
    params = tiny_params(tree=tree.to_dict())
    page = report.report(params, write_results(tmp_path / "results", tree))
    assert "Oracle parents</h2>" not in page
    assert "chain of 1 expert<" in page
    found = Page(page)
    assert {a.removeprefix("#") for a in found.addresses if a.startswith("#")} == set(found.ids)


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: apt-get install chromium")
def test_tables_are_as_wide_as_long_names_need(tiny_params, tmp_path):
    leaves = {f"{side} lower arm with the hand": i for i, side in enumerate(("left", "right"), 1)}
    tree = ClassTree({"image": {"background": 0, "person": {"arms": leaves, "head": 3}}})
    params = tiny_params(tree=tree.to_dict())
    page = report.report(params, write_results(tmp_path / "results", tree))
    fits = (
        "[...document.querySelectorAll('.narrow > div')].every(d => d.scrollWidth <= d.clientWidth)"
    )
    (tmp_path / "page.html").write_text(f"{page}<script>document.title = {fits}</script>")
    shown = ["--headless", "--no-sandbox", "--dump-dom", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(["chromium", *shown], capture_output=True, text=True, check=True)
    assert "<title>true</title>" in done.stdout


def test_a_template_that_asks_for_what_is_not_there_fails(tmp_path):
    (tmp_path / "page.html.j2").write_text("{{ absent }}")
    with pytest.raises(Exception, match="absent"):
        fill(tmp_path / "page.html.j2")


def test_main_writes_the_page_and_nothing_beside_it(made, tmp_path, monkeypatch, params_file):
    params, results, _ = made
    params_file(tmp_path, tree=params["tree"])
    (tmp_path / "results").symlink_to(results)
    monkeypatch.chdir(tmp_path)
    report.main()
    assert (results / "report.html").read_text().startswith("<!doctype html>")
    assert not list(results.glob(".*"))

"""The template escapes what is data, numbers figures and lets nothing foreign run."""

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from page_layout import HOSTILE, read_page
from variolite.report.page import (
    Alternatives,
    Bullets,
    Code,
    Facts,
    Figure,
    Finding,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    render_page,
)

DRAWING = Markup("<svg></svg>")


def page_of(*blocks, **settings):
    section = Section("a", "A", blocks)
    return read_page(render_page("run", "about", ["Says."], [section], **settings))


def figure(name="f"):
    return Figure(name, DRAWING, "caption")


def test_hostile_text_makes_no_element_wherever_it_stands():
    blocks = [Figure(HOSTILE, DRAWING, HOSTILE), Paragraph(f"`{HOSTILE}`"), Heading(HOSTILE)]
    blocks += [Alternatives(HOSTILE, ((HOSTILE, (figure(),)), ("b", (figure(),))))]
    blocks += [Bullets((HOSTILE,)), Code(HOSTILE), Finding("note", HOSTILE, HOSTILE)]
    blocks += [Table([HOSTILE], [[HOSTILE]]), Facts({HOSTILE: HOSTILE})]
    blocks += [Fold(HOSTILE, [Paragraph(HOSTILE)])]
    html = render_page(HOSTILE, HOSTILE, [HOSTILE], [Section("a", HOSTILE, blocks)])
    page = read_page(html)
    assert len(page.find("script")) == len(page.find("style")) == 1
    assert page.find("img") == []
    assert page.text().count("alert('x')") == 21
    assert not re.search("[\x00-\x08]", html)


@given(st.text())
def test_any_text_comes_back_from_a_cell(text):
    legal = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    (cell,) = page_of(Table(["a"], [[text]])).find("td")
    assert cell.text() == legal


def test_a_table_sorts_where_that_is_asked_for():
    plain, sorting = page_of(Table(["a"], [["1"]]), Table(["a"], [["1"]], sortable=True)).find(
        "table"
    )
    assert "class" not in plain.attributes
    assert sorting.attributes["class"] == "sortable"


def test_only_the_script_of_the_page_may_run():
    page = page_of(script="more();", style="p { margin: 0 }")
    (script,) = page.find("script")
    digest = base64.b64encode(hashlib.sha256(script.text().encode()).digest()).decode()
    (policy,) = [m.attributes["content"] for m in page.find("meta") if "http-equiv" in m.attributes]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert script.text().endswith("more();")


def test_figures_are_numbered_and_alternatives_share_numbers():
    choice = Alternatives(
        "Hole", (("A", (figure("a"), figure("b"))), ("B", (figure("a/../c"), figure("d"))))
    )
    page = page_of(figure(), choice, figure())
    numbers = [f.find("b")[0].text() for f in page.find("figure")]
    assert numbers == [f"Figure {n}." for n in (1, 2, 3, 2, 3, 4)]
    hidden = ["hidden" in f.attributes for f in page.find("figure")]
    assert hidden == [False, False, False, True, True, False]
    names = [f.attributes["data-name"] for f in page.find("figure")]
    assert names == ["f", "a", "b", "a-..-c", "d", "f"]
    (menu,) = page.find("select")
    assert [o.text() for o in menu.find("option")] == ["A", "B"]
    assert page_of(Alternatives("Hole", (("A", (figure(),)),))).find("select") == []


@pytest.mark.parametrize(("level", "spoken"), [("ok", "fine"), ("warning", "warning")])
def test_findings_end_as_sentences(level, spoken):
    (told,) = page_of(Finding(level, "all is well", "Go on.")).find("main")[0].find("p")
    assert told.text()[1:] == "all is well. Go on."
    assert told.find("span")[0].attributes["aria-label"] == spoken


def test_code_numbers_and_the_banner_of_simulated_data():
    blocks = (Paragraph("run `variolite score` now", "missing"), Table("ab", ["cd"], 1))
    page = page_of(*blocks, simulated=True)
    assert page.find("code")[0].text() == "variolite score"
    assert [c.attributes.get("class") for c in page.find("td")] == [None, "number"]
    assert "SIMULATED" in page.find("header")[0].text()
    assert "SIMULATED" not in page_of(*blocks).text()

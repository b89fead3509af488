"""Elements escape what is data and pass on what is markup."""

import math
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.report.markup import Markup, compact, element, escape, join

legal = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))


@given(legal)
def test_any_text_comes_back_from_content_and_attribute(text: str) -> None:
    parsed = ElementTree.fromstring(element("text", text, data_name=text))
    assert (parsed.text or "") == text
    assert parsed.attrib["data-name"] == text


@given(st.text())
def test_text_that_xml_forbids_leaves_a_readable_element(text: str) -> None:
    parsed = ElementTree.fromstring(element("text", text))
    read = parsed.text or ""
    assert not any(ord(c) < 32 and c not in "\t\n\r" for c in read)
    assert "\x00" not in escape("a\x00b")


def test_hostile_text_makes_no_element() -> None:
    found: list[str] = []

    class Names(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            found.append(tag)

    Names().feed(element("p", "<script>alert(1)</script>", title="\"><img src=x onerror='y'>"))
    assert found == ["p"]


def test_markup_is_not_escaped_twice() -> None:
    inner = element("b", "a & b")
    assert inner == "<b>a &amp; b</b>"
    assert element("p", inner, " < c") == "<p><b>a &amp; b</b> &lt; c</p>"
    assert join(["<", Markup("<br>")], ", ") == "&lt;, <br>"


def test_attributes_are_written_as_html_wants_them() -> None:
    made = element("rect", stroke_width=1.5, class_="bed", hidden=True, open=False, fill=None)
    assert made == '<rect stroke-width="1.5" class="bed" hidden/>'
    assert element("br") == "<br>"
    assert element("td") == "<td></td>"


@given(st.floats(-1e6, 1e6))
def test_compact_is_within_half_a_hundredth(value: float) -> None:
    assert float(compact(value)) == pytest.approx(value, abs=0.005000001)
    assert "e" not in compact(value)


def test_compact_refuses_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="finite"):
        compact(math.nan)

import json
import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from kit.records import ColumnRecord
from kit.report import View, render_html
from tests import builders
from tests.report import scenes

HOSTILE = (
    '<script>alert("x")</script>',
    "\"' onmouseover='alert(1)",
    "</style></title></script><img src=http://evil.example/x>",
    "\u202egnp.exe",
    "x" * 5000,
    "{{ 7 * 7 }}{% raw %}",
    "]]>&amp;<!--",
)
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and whether every one that was opened was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.json = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.json += data


def hostile_view(name: str) -> View:
    """A run in which every name that comes from outside is hostile."""
    evidence = builders.evidence()
    data = evidence.dataset
    columns = {"exercise": data.columns["exercise"], "side": ColumnRecord(("left", name), data.columns["side"].codes)}
    data = replace(data, name=name, classes=(name, *data.classes[1:]), columns=columns, cluster_column=name)
    machine = replace(evidence.device, name=name, cpu_model=name, runtime=name, instruction_sets=(name,), link=name)
    machine = replace(machine, emulated=(name,))
    evidence = replace(evidence, dataset=data, device=machine, source=replace(evidence.source, name=name))
    return scenes.view_of(evidence, builders.profile(name=name), builders.device(name=name, emulated=(name,)))


def test_structure_is_sound_and_nothing_is_fetched_or_run() -> None:
    page = Page(render_html(scenes.ordinary()))
    assert page.open == []
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "form", "base", "img", "audio", "video"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in {"href", "src", "srcset", "action", "data", "poster", "xlink:href"}:
                assert (value or "").startswith(("#", "data:,"))
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [s["type"] for s in scripts] == ["application/json"]


def test_no_url_leads_outside() -> None:
    text = render_html(scenes.ordinary())
    assert set(re.findall(r"(?:https?:)?//[^\s\"'<>]+", text)) <= {"http://www.w3.org/2000/svg"}
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_a_content_policy_forbids_everything_but_its_own_style() -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'" in render_html(scenes.certified())


@pytest.mark.parametrize("scene", [scenes.ordinary, scenes.broken, scenes.certified, scenes.untested])
def test_size_and_determinism(scene: Any) -> None:
    first, second = render_html(scene()), render_html(scene.__wrapped__())
    assert first == second
    assert len(first.encode()) < 400_000


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(name: str) -> None:
    text = render_html(hostile_view(name))
    tame = Page(render_html(hostile_view("tame")))
    page = Page(text)
    assert page.open == []
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in tame.elements]
    assert {key for _, attributes in page.elements for key in attributes} == {
        key for _, attributes in tame.elements for key in attributes
    }
    assert "\u202e" not in text
    assert "49" not in Page(text).elements[-1][1].values()
    assert len(text.encode()) - len(page.json.encode()) < 400_000


def test_the_embedded_json_is_the_summary() -> None:
    view = hostile_view(HOSTILE[2])
    assert json.loads(Page(render_html(view)).json) == json.loads(json.dumps(view.summary))


def test_no_drawing_holds_what_is_not_a_number() -> None:
    for scene in (scenes.ordinary, scenes.broken, scenes.certified, scenes.untested):
        for tag, attributes in Page(render_html(scene())).elements:
            for value in attributes.values():
                assert not re.search(r"\b(nan|inf|None)\b", value or ""), (tag, attributes)


def test_every_link_leads_to_a_section() -> None:
    for scene in (scenes.ordinary, scenes.certified, scenes.untested):
        page = Page(render_html(scene()))
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
        assert len(ids) == len(set(ids))
        assert {str(link).removeprefix("#") for link in links} <= set(ids)


def test_chart_text_is_never_below_12_pixels_and_never_scaled() -> None:
    page = Page(render_html(scenes.ordinary()))
    sizes = {attributes["font-size"] for tag, attributes in page.elements if tag == "text"}
    assert sizes == {"12"}
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes["viewbox"] == f"0 0 {attributes['width']} {attributes['height']}"
            assert attributes["role"] == "img"


def test_the_verdict_has_word_and_sign_beside_its_colour() -> None:
    text = render_html(scenes.broken())
    assert re.search(r'class="badge fail"><span class="sign" aria-hidden="true">✕</span>FAIL<', text)
    assert "<title>FAIL: " in text


def test_emulated_is_on_the_page_and_absent_where_nothing_is() -> None:
    assert "<strong>EMULATED</strong> Rehearsal: certifies no hardware." in render_html(scenes.broken(("meter",)))
    assert "EMULATED" not in render_html(scenes.certified())


def test_a_run_with_nothing_measured_still_renders() -> None:
    names = ("latency", "memory", "energy", "predictions", "exact_predictions", "saturating_predictions")
    plans = [replace(plan, absent=frozenset(names)) for plan in builders.PLANS]
    page = Page(render_html(scenes.view_of(builders.evidence(plans))))
    assert page.open == []


def test_the_view_is_frozen_all_the_way_down() -> None:
    def check(value: object) -> None:
        if is_dataclass(value) and not isinstance(value, type):
            assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]
            for each in fields(value):
                if each.name != "summary":
                    check(getattr(value, each.name))
        elif isinstance(value, tuple):
            for item in value:
                check(item)
        else:
            assert not isinstance(value, list | dict)

    check(scenes.ordinary())

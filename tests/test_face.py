"""How the panels look: every state in a real Chromium, without a kernel, light and dark, wide and
narrow."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_browser import CHROMIUM, CONTRASTS, FLAGS, PICTURES, REPO

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
NOTEBOOK = REPO / "labauth_nb" / "notebook"
GALLERY = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Panels</title><style>
:root { color-scheme: light dark; }
body { margin: 0; padding: 16px; background: light-dark(#f6f7f9, #111417);
  color: light-dark(#1b1f24, #e7eaee); font: 13px/1.45 system-ui, sans-serif; }
h1 { font-size: 14px; }
h2 { margin: 18px 0 6px; font-size: 11px; color: light-dark(#57606a, #a3adb8); }
</style></head><body><main><h1>Every state of a panel</h1></main></body></html>
"""
DRAW = """async ([code, css, states]) => {
    const load = (text) => import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'})));
    const [{attach}, {STATES}] = [await load(code), await load(states)];
    document.head.append(Object.assign(document.createElement('style'), {textContent: css}));
    globalThis.sent = [];
    for (const [name, state] of Object.entries(STATES)) {
        const place = document.createElement('div');
        place.id = name;
        document.querySelector('main').append(
            Object.assign(document.createElement('h2'), {textContent: name}), place);
        let hear = () => {};
        attach(place, {
            send: (message) => message.type === 'hello'
                ? hear({type: 'state', ...state}) : sent.push({to: name, ...message}),
            listen: (mine) => { hear = mine; return () => {} },
            kernel: () => 'live', saved: null, keep: () => {},
        });
    }
    return Object.keys(STATES);
}"""


def draw(page: Any) -> None:
    """Draw every state into `page`."""
    page.set_content(GALLERY)
    texts = [NOTEBOOK / "panel.js", NOTEBOOK / "panel.css", REPO / "tests" / "states.mjs"]
    assert len(page.evaluate(DRAW, [each.read_text("utf-8") for each in texts])) > 25


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def gallery(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page with every state drawn in it; the parameter is (theme, width in px)."""
    theme, width = getattr(request, "param", ("light", 700))
    page = chromium.new_page(
        color_scheme=theme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    draw(page)
    yield page
    page.close()


EVERY = [(theme, width) for theme in ("light", "dark") for width in (700, 320)]
BEYOND = """() => [...document.querySelectorAll('.labauth')].flatMap((root) => {
    const edge = root.getBoundingClientRect();
    return [...root.querySelectorAll('*')].filter((it) => {
        const box = it.getBoundingClientRect();
        const seen = box.width > 1 && !it.closest('.vh') && !it.closest('option');
        return seen && (box.right > edge.right + 1 || box.left < edge.left - 1);
    }).map((it) => [root.parentElement.id, it.tagName, it.className, it.textContent.slice(0, 30)]);
})"""
SMALL = """() => [...document.querySelectorAll('.labauth :is(button, summary, select, .button)')]
    .map((it) => [it, it.getBoundingClientRect()])
    .filter(([it, box]) => box.width && (box.height < 24 || box.width < 24)
        && !(it.matches('.options > summary')))
    .map(([it, box]) => [it.closest('[id]').id, it.textContent, box.width, box.height])"""
EMPTY = """() => [...document.querySelectorAll(
    '.labauth :is(td, th, dd, .host, .time, label, small)')]
    .filter((it) => !it.textContent.trim()).map((it) => [it.closest('div[id]').id, it.outerHTML])"""


@pytest.mark.parametrize("gallery", EVERY, indirect=True, ids=lambda each: f"{each[0]}-{each[1]}")
def test_every_state(gallery: Any, request: pytest.FixtureRequest) -> None:
    """Each state is readable (WCAG AA contrast), nothing sticks out or is empty, and what can be
    pressed is 24 px at least."""
    theme, width = request.node.callspec.params["gallery"]
    PICTURES.mkdir(exist_ok=True)
    gallery.screenshot(path=PICTURES / f"face-{width}-{theme}.png", full_page=True)
    assert gallery.evaluate("document.documentElement.scrollWidth") <= width
    assert gallery.evaluate(BEYOND) == []
    assert gallery.evaluate(SMALL) == []
    assert gallery.evaluate(EMPTY) == []
    for panel in gallery.locator(".labauth").all():
        texts = "a, b, small, summary, legend, caption, code, h3"
        assert panel.evaluate(CONTRASTS.replace("h3,", f"{texts},")) == []


def test_a_card_is_one_line(gallery: Any) -> None:
    """A card is 48 px high, its details are behind one click; a login looks different in each
    state, by the shape of its dot and not by its colour alone."""
    heights = gallery.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('.card')].map((it) =>"
        " [it.closest('div[id]').id, Math.round(it.getBoundingClientRect().height)]))"
    )
    plain = [name for name in heights if "long" not in name and "un" not in name]
    assert {name: heights[name] for name in plain if name != "card-refused"} == {
        name: 48 for name in plain if name != "card-refused"
    }
    shapes = gallery.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('.card')].map((it) => {"
        " const dot = getComputedStyle(it.querySelector('.dot'));"
        " const round = [dot.borderRadius, dot.borderStyle, dot.transform, dot.borderRightColor"
        " === dot.borderLeftColor, dot.backgroundColor === 'rgba(0, 0, 0, 0)',"
        " dot.backgroundImage === 'none'];"
        " return [it.dataset.state, JSON.stringify(round)] }))"
    )
    assert len(shapes) == 6
    assert len(set(shapes.values())) == 6, shapes
    assert not gallery.locator("#card-valid dl").is_visible()
    gallery.locator("#card-valid summary").press("Enter")
    assert gallery.locator("#card-valid dl").is_visible()
    assert "lab = %labauth session benchling" in gallery.inner_text("#card-valid dl")


def test_a_form_by_the_keyboard(gallery: Any) -> None:
    """By the keyboard alone: the arrows choose a way and keep the focus, its fields come with it,
    Show shows what was pasted, Enter submits it once, Esc gives the cell back."""
    form = gallery.locator("#form-browser")
    form.locator("input[value='oidc']").focus()
    assert form.locator("input[type='password']").count() == 0
    gallery.keyboard.press("ArrowDown")
    assert form.locator("input[value='api-key']:checked:focus").count() == 1
    gallery.keyboard.press("Tab")  # the link to where the key is made
    gallery.keyboard.press("Tab")
    gallery.keyboard.insert_text("kanari-pasted-0001")
    box = form.locator("input[name='api_key']")
    gallery.keyboard.press("Tab")
    gallery.keyboard.press("Enter")
    assert box.get_attribute("type") == "text"
    assert form.locator("[name='show-api_key']").inner_text() == "Hide"
    gallery.keyboard.press("Shift+Tab")
    gallery.keyboard.press("Escape")
    gallery.keyboard.press("Enter")
    sent = gallery.evaluate("sent")
    assert [each["type"] for each in sent] == ["leave", "submit"]
    assert sent[1]["fields"] == {"tenant": "acme", "api_key": "kanari-pasted-0001"}
    assert "kanari" not in gallery.content()
    assert form.locator("button[type='submit']").inner_text() == "Signing in…"


def test_a_card_moves_on_by_itself(chromium: Any) -> None:
    """Without a message, a card goes from valid to expiring, and on to "renews itself when used",
    or, where it cannot, to red with "Sign in again"; what is said of it is read out."""
    page = chromium.new_page()
    page.clock.install(time=1_700_000_000_000)
    draw(page)
    card, pasted = page.locator("#card-valid .card"), page.locator("#card-expiring-pasted .card")
    assert card.get_attribute("data-state") == "valid"
    page.clock.run_for(47_000)
    assert pasted.get_attribute("data-state") == "expiring"
    page.clock.run_for(2_000)
    assert pasted.get_attribute("data-state") == "needs"
    assert "ran out at" in pasted.inner_text()
    assert pasted.locator("button.main").inner_text() == "Sign in again"
    assert "has expired. Sign in again" in str(
        page.locator("#card-expiring-pasted [aria-live]").text_content()
    )
    page.clock.run_for(750_000)
    assert card.get_attribute("data-state") == "expiring"
    page.clock.run_for(60_000)
    assert card.get_attribute("data-state") == "asleep"
    assert "renews itself when used" in card.inner_text()
    assert page.evaluate("sent") == []
    page.close()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_accessible(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """axe finds nothing in any state: labels, contrast, one live region each, no landmark twice."""
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--silent", "--no-fund", "--prefix", str(folder), "axe-core@4"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    axe = (Path(folder) / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    for theme, width in EVERY:
        page = chromium.new_page(color_scheme=theme, viewport={"width": width, "height": 900})
        draw(page)
        page.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true })")
        page.evaluate(axe)
        found = page.evaluate("axe.run(document)")
        told = [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]
        assert told == []
        roots = page.locator(".labauth").count()
        assert page.locator("[aria-live], [role='alert'], [role='status']").count() == roots
        page.close()

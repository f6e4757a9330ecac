"""The page of a running `dxlab serve` in a real browser: with and without JavaScript, narrow, dark, by keyboard, read by axe-core.

    dxlab serve --model smollm2 --port 8080 &
    python tests/reference/page_browser.py http://127.0.0.1:8080 FOLDER_FOR_SCREENSHOTS [CHROMIUM]

Wants `pip install playwright axe-playwright-python` and a Chromium (Debian's package `chromium`). Fails at the first check that is wrong.
"""
import sys
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

url, folder = sys.argv[1], Path(sys.argv[2])
chromium = sys.argv[3] if len(sys.argv) > 3 else "/usr/bin/chromium"
folder.mkdir(parents=True, exist_ok=True)
hostile = "Stones in the gallbladder <script>alert(1)</script> & <img src=x onerror=alert(2)>. A simple cyst of the left kidney."


def check(name, right, shown=""):
    print(f"{'ok  ' if right else 'FAIL'} {name} {shown}")
    if not right:
        sys.exit(1)


def axe(page, name):
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).response["violations"]
    check(f"axe-core: {name}", found == [], [(v["id"], [n["html"][:80] for n in v["nodes"]]) for v in found])


def answered(page):
    page.wait_for_selector("#result h2", timeout=120_000)


with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

    def opened(**how):
        context = browser.new_context(bypass_csp=False, **how)
        page = context.new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append("a dialog: " + dialog.message), dialog.dismiss()))
        page.goto(url)
        return page

    page = opened(viewport={"width": 1000, "height": 900})
    axe(page, "empty form")
    page.screenshot(path=folder / "empty.png", full_page=True)
    page.click("a.example >> nth=0")
    check("an example to try", len(page.input_value("#text")) > 20)
    page.fill("#text", hostile)
    page.click("button[type=submit]")
    answered(page)
    check("bars and numbers", page.locator("meter").count() == page.locator(".number").count() > 0, page.locator("#result ol").inner_text().replace("\n", " ")[:120])
    check("the answer has the focus", page.evaluate("document.activeElement.id") == "result")
    check("evidence is marked", page.locator("mark").count() > 0, page.locator("mark").first.inner_text())
    check("no text became markup", page.locator("#result script, #result img").count() == 0)
    check("nothing is wrong in the console", page.said == [], page.said)
    page.click("summary")
    check("the request for a shell", "/v1/diagnose" in page.inner_text(".curl"))
    axe(page, "answer")
    page.screenshot(path=folder / "answer.png", full_page=True)
    scripted = page.locator("#result").inner_text()

    page = opened(viewport={"width": 1000, "height": 900})
    if page.locator("option[value=rare-disease]").count():
        check("no names are looked up for findings", not page.is_visible("#picker"))
        page.select_option("#task", "rare-disease")
        check("what is to be typed follows the task", page.inner_text("label[for=text]") == "Signs of the patient, one a line")
        page.type("#sign", "arachnod")
        page.wait_for_selector("#signs option", state="attached")
        name = page.locator("#signs option").first.get_attribute("value")
        page.fill("#sign", name)
        page.click("#add")
        page.fill("#sign", "Intellectual disability")
        page.click("#addnot")
        check("names are completed", page.input_value("#text").splitlines() == [name, "no Intellectual disability"], page.input_value("#text"))
        axe(page, "rare disease, empty")
        page.click("button[type=submit]")
        answered(page)
        check("each disease has its signs", page.locator("ul.evidence li").count() >= 2 * page.locator("meter").count() > 0, page.locator("#result ol").inner_text().replace("\n", " ")[:160])
        check("nothing is wrong in the console", page.said == [], page.said)
        axe(page, "rare disease, answer")
        page.screenshot(path=folder / "rare-disease.png", full_page=True)
        signs = page.locator("#result ol").inner_text()
        page = opened(java_script_enabled=False)
        page.click("a.example >> nth=1")
        page.fill("#text", f"{name}\nno Intellectual disability")
        page.click("button[type=submit]")
        answered(page)
        check("the same diseases without JavaScript", page.locator("#result ol").inner_text() == signs)

    page = opened(java_script_enabled=False, viewport={"width": 1000, "height": 900})
    page.fill("#text", hostile)
    page.click("button[type=submit]")
    answered(page)
    page.click("summary")
    plain = page.locator("#result").inner_text()
    words = lambda text: text.replace(f"http://{url.split('://')[1]}", "").split()
    check("the same words without JavaScript", words(plain) == words(scripted), [pair for pair in zip(words(plain), words(scripted)) if pair[0] != pair[1]][:3])
    check("no text became markup", page.locator("#result script, #result img").count() == 0 and page.said == [], page.said)
    page.screenshot(path=folder / "no-script.png", full_page=True)

    for name, how in {"narrow": {"viewport": {"width": 320, "height": 640}}, "dark": {"viewport": {"width": 1000, "height": 900}, "color_scheme": "dark"}}.items():
        page = opened(**how)
        page.fill("#text", "Several stones in the gallbladder. No free fluid.")
        page.click("button[type=submit]")
        answered(page)
        page.click("summary")
        check(f"{name}: nothing is wider than the page", page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
        axe(page, name)
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    page = opened()
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.tagName"))
        if seen[-1] == "text":
            page.keyboard.type("Several stones in the gallbladder.")
        if seen[-1] == "BUTTON":
            page.keyboard.press("Enter")
            break
    check("the keyboard alone reaches everything", seen == ["skip", "task", "model", "text", "BUTTON"], seen)
    answered(page)
    check("and gets its answer", page.locator("#result li, #result p").count() > 0)
    browser.close()

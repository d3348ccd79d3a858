"""The page in Chromium, by keyboard on a desk and in the dark on a phone: URL CHROMIUM TOKEN FOLDER FILE."""
import json
import sys
import time

from playwright.sync_api import sync_playwright

url, chromium, token, folder, path = sys.argv[1:]


def until(what):
    for _ in range(1200):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def use(page, name):
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url + "/")
    page.locator("#token").wait_for()  # the server has one: the page asks for it
    page.fill("#token", token)
    page.press("#token", "Tab")
    page.wait_for_selector("#model option", state="attached")
    page.focus("#prompt")
    page.keyboard.type("a red circle")
    for field, value in (("num_inference_steps", "20"), ("num_frames", "5"), ("seed", "7")):
        page.fill("#" + field, value)
    page.focus("button[type=submit]")
    page.keyboard.press("Enter")
    page.wait_for_selector("li.completed")
    page.click("li .show")
    video = page.wait_for_selector("li video:not([hidden])")
    until(lambda: video.evaluate("v => v.readyState") == 4)
    assert video.evaluate("v => [v.videoWidth, v.videoHeight, v.error]") == [64, 64, None]
    with page.expect_download() as download:
        page.click("li .save")
    download.value.save_as(path)

    with page.expect_download() as download:
        page.click("li .trace")
    with open(download.value.path()) as file:
        events = json.load(file)["traceEvents"]
    steps = {event["args"]["step"] for event in events if event["ph"] == "X"}
    assert steps == set(range(-1, 20)), steps
    page.click("li .plan")
    page.wait_for_selector("li .planned:not([hidden])")
    plan = page.inner_text("li .planned")
    assert "20 steps of up to 2 forwards" in plan and "device 0: " in plan and "NaN" not in plan, plan
    page.screenshot(path=f"{folder}/page-{name}-plan.png", full_page=True)
    page.click("li .plan")

    page.fill("#num_frames", "6")
    page.click("button[type=submit]")
    until(lambda: "5 or 9 would work" in page.inner_text("#message"))
    page.fill("#num_frames", "33")
    page.fill("#num_inference_steps", "1000")
    page.fill("#prompt", "<b>slow</b>")
    page.click("button[type=submit]")
    page.wait_for_selector("li.in_progress")
    assert page.inner_text("li.in_progress .prompt") == "<b>slow</b>"
    until(lambda: page.evaluate("() => document.querySelector('li.in_progress progress').value > 0"))
    page.screenshot(path=f"{folder}/page-{name}.png", full_page=True)
    page.click("li.in_progress .cancel")
    page.wait_for_selector("li.failed")
    assert page.inner_text("li.failed .state") == "cancelled"
    while page.locator("li").count():
        rows = page.locator("li").count()
        page.click("li .delete")
        until(lambda: page.locator("li").count() < rows)
    assert not errors, errors


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    for name, options in (
        ("desk", {"viewport": {"width": 1200, "height": 900}}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}),
    ):
        context = browser.new_context(**options)
        use(context.new_page(), name)
        context.close()
    browser.close()
print("serve: the page makes, shows, downloads, plans, traces, cancels and deletes a video, on a desk and on a phone")

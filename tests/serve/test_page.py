"""The page in a real browser: Chromium without a window, with a microphone that plays a file."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
import requests
import soundfile
from PIL import Image

from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.speech_synthesis import spell
from tests.serve.page_scripts import BLOCKED, CLICKED, COUNTED, SEVERAL, SLOW, UNPLUGGED

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright: pip install playwright")
(expect := playwright.expect).set_options(timeout=20_000)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in chromium or google-chrome, and neither is installed")


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    path, speech = tmp_path_factory.mktemp("speech") / "hello.wav", spell("hello")
    soundfile.write(path, speech.waveform, speech.rate)
    return path


@pytest.fixture(scope="module")
def browser(spelled):
    microphone = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={spelled}"]
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *microphone])


@pytest.fixture
def visit(browser, service):
    """Opens the page, and sees to it that it asks nothing of other servers and makes no mistake that the browser would note."""
    asked, mistakes = [], []

    def visit(prepare=lambda page: None, **options):
        page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}).new_page()
        page.on("request", lambda request: asked.append(request.url.removeprefix("blob:")))
        page.on("console", lambda message: mistakes.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        prepare(page)
        page.goto(service.url)
        expect(page.get_by_text("Asking the server")).to_be_hidden()
        return page

    yield visit
    for context in browser.contexts:
        context.close()
    assert [url for url in asked if not url.startswith(f"{service.url}/")] == []
    assert [mistake for mistake in mistakes if "Failed to load resource" not in mistake] == []  # which the browser says of each refusal


class Panel:
    """One half of the page, by the names that a screen reader says."""

    def __init__(self, page, name: str):
        self.page, self.half = page, page.get_by_role("region", name=name)
        self.status, self.alert = self.half.get_by_role("status"), self.half.get_by_role("alert")
        self.stage, self.position = self.half.get_by_role("group", name="Space plays"), self.half.get_by_role("slider", name="Position")

    def button(self, name: str):
        return self.half.get_by_role("button", name=name, exact=True)

    def picture(self) -> str:
        return self.half.get_by_role("img").evaluate("canvas => canvas.toDataURL()")

    def frame(self) -> float:
        return self.position.evaluate("range => range.valueAsNumber")


def sign(page, text: str, **options) -> Panel:
    page.locator("#options").evaluate("details => details.open = true")
    for name, value in {"Seconds": 2, "Text": text, **options}.items():
        page.get_by_label(name, exact=True).fill(str(value))
    panel = Panel(page, "Written")
    panel.button("Sign it").click()
    return panel


def still(page) -> Panel:
    """Two seconds of signing, paused at the start."""
    panel = sign(page, "cab")
    expect(panel.status).to_have_text("Ready: 2.0 s of signing")
    panel.button("Pause").click()
    panel.stage.press("Home")
    return panel


def tab_to(control) -> None:
    for _ in range(20):
        control.page.keyboard.press("Tab")
        if control.evaluate("control => control === document.activeElement"):
            return
    pytest.fail("the control cannot be reached by the Tab key")


def with_script(script: str):
    return lambda page: page.add_init_script(script)


def slow(milliseconds: int):
    return with_script(SLOW.replace("PAUSE", str(milliseconds)))


def use_key(page, key: str) -> None:
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def answer(path: str, *answers: dict):
    """The first requests for a path get these answers, later ones the server's own."""
    left = list(answers)
    return lambda page: page.route(f"**/{path}", lambda route: route.fulfill(**left.pop(0)) if left else route.continue_())


def test_text_is_signed_while_it_still_comes_and_waits_where_it_has_caught_up(visit):
    panel = sign(visit(slow(1200)), "cab")
    expect(panel.status).to_have_text(re.compile(r"\d.\d s so far"))
    before, frame = panel.picture(), panel.frame()
    panel.page.wait_for_function("before => document.querySelector('#written .scrub').valueAsNumber > before + 1", arg=frame)
    assert panel.picture() != before
    expect(panel.half.get_by_text("Waiting for more…", exact=True)).to_be_visible()
    expect(panel.status).to_have_text(re.compile(r"Waiting for more… \d.\d s so far"))
    expect(panel.status).to_have_text("Ready: 2.0 s of signing")
    expect(panel.half.get_by_text("Waiting for more…")).to_be_hidden()


def test_each_picture_is_drawn_once_however_many_signings_there_were(visit):
    page = visit(with_script(COUNTED))
    for text in ("cab", "bad", "ace"):
        panel = sign(page, text)
        expect(panel.half.get_by_text(f"“{text}” · ")).to_be_visible()
        expect(panel.status).to_have_text(re.compile("Ready"))
        expect(panel.button("Pause")).to_be_visible()
        page.evaluate("new Promise((done) => setTimeout(done, 300))")
    assert page.evaluate("most") == 1


def test_the_model_is_asked_for_again_where_its_skeleton_has_changed(visit, service):
    model = requests.get(f"{service.url}/v1/model", timeout=60).json()
    before = model | {"skeleton": model["skeleton"] | {"name": "another", "parts": []}}
    panel = sign(visit(answer("v1/model", {"json": before})), "cab")
    expect(panel.status).to_have_text(re.compile("Ready"))
    panel.button("Pause").click()
    panel.stage.press("Home")
    assert panel.picture() == still(visit()).picture()


def test_an_audio_file_is_signed_and_compared_with_the_text(visit, spelled):
    page = visit()
    written, spoken, both = still(page), Panel(page, "Spoken"), page.get_by_role("button", name="Play both")
    expect(both).to_be_disabled()
    spoken.half.get_by_label("or an audio file").set_input_files(spelled)
    expect(spoken.half.get_by_label("What is to be signed")).to_be_visible()
    spoken.button("Sign it").click()
    expect(spoken.status).to_have_text("Ready: 2.0 s of signing")
    expect(spoken.half.get_by_text("hello.wav · ")).to_be_visible()
    written.position.fill("20")
    positions = both.evaluate(CLICKED)
    assert positions[0] == [0, 0]
    assert all(one == other for one, other in positions)
    assert positions[-1][0] > 0
    expect(page.get_by_role("button", name="Pause")).to_have_count(2)


def test_the_microphone_is_recorded_as_wav_where_it_is_allowed(visit):
    watched = "const ask = fetch; window.fetch = (path, options) => ask(path, options, window.sent = options.body);"
    page = visit(lambda page: page.add_init_script(watched))  # since Chromium tells nobody the files in a form
    panel = Panel(page, "Spoken")
    panel.button("Record").click()
    expect(panel.alert).to_contain_text("Allow it for this page, or choose an audio file.")
    page.context.grant_permissions(["microphone"])
    panel.button("Record").click()
    page.wait_for_function("() => level.value > 0.5 && parseFloat(seconds.textContent) > 1.5")
    expect(panel.half.get_by_label("or an audio file")).to_be_disabled()
    panel.button("Stop recording").click()
    expect(panel.half.get_by_label("or an audio file")).to_be_enabled()
    panel.button("Sign it").click()
    expect(panel.status).to_have_text(re.compile(r"Ready: \d"))
    sent = page.evaluate("async () => [...new Uint8Array(await sent.get('speech').arrayBuffer())]")
    speech, rate = soundfile.read(io.BytesIO(bytes(sent)))
    assert rate == 16_000
    assert 1.5 < len(speech) / rate < 10
    assert np.abs(speech).max() > 0.05


def test_what_was_recorded_is_kept_when_the_microphone_is_unplugged(visit):
    page = visit(with_script(UNPLUGGED), permissions=["microphone"])
    panel = Panel(page, "Spoken")
    panel.button("Record").click()
    page.wait_for_function("() => parseFloat(seconds.textContent) > 0.5")
    page.evaluate("unplug()")
    expect(panel.alert).to_contain_text("The microphone is gone.")
    expect(panel.button("Record again")).to_be_visible()
    panel.button("Sign it").click()
    expect(panel.status).to_have_text(re.compile(r"Ready: \d"))


def test_position_frames_speed_and_loop(visit):
    panel, pictures = still(visit()), []
    for frame in range(4):
        assert panel.frame() == frame
        pictures.append(panel.picture())
        panel.button("One frame forward").click()
    assert len(set(pictures)) == 4
    panel.button("One frame back").click()
    assert panel.picture() == pictures[3]
    panel.position.fill("24")
    expect(panel.half.get_by_text("1.9 / 2.0 s")).to_be_visible()
    panel.half.get_by_label("Loop").uncheck()
    panel.half.get_by_label("Speed").select_option("0.25×")
    panel.button("Play").click()  # from the start, for it was at the end
    panel.page.wait_for_timeout(1500)
    assert 1 < panel.frame() < 10
    panel.half.get_by_label("Speed").select_option("2×")
    expect(panel.button("Play")).to_be_visible()
    assert panel.frame() == 24
    panel.half.get_by_label("Loop").check()
    panel.button("Play").click()
    panel.page.wait_for_timeout(1500)
    expect(panel.button("Pause")).to_be_visible()


def test_it_can_be_used_by_keyboard_alone(visit):
    page = visit()
    keys, panel = page.keyboard, Panel(page, "Written")
    tab_to(page.get_by_label("Text", exact=True))
    keys.type("cab")
    keys.press("Control+Enter")
    expect(panel.status).to_have_text(re.compile("Ready"))
    tab_to(panel.stage)
    assert panel.stage.evaluate("stage => getComputedStyle(stage).outlineStyle") == "solid"
    keys.press("Space")
    expect(panel.button("Play")).to_be_visible()
    keys.press("Home")
    keys.press("ArrowRight")
    tab_to(panel.position)
    keys.press("ArrowRight")
    assert panel.frame() == 2
    keys.press("Space")
    expect(panel.button("Pause")).to_be_visible()


def test_what_cannot_be_signed_is_said_in_the_servers_words(visit):
    page = visit()
    panel = sign(page, "ß")
    expect(panel.alert).to_contain_text(re.compile("learned only: [a-z]+"))
    sign(page, " ")
    expect(panel.alert).to_contain_text("Write a word first")
    sign(page, "cab", **{"Sampling steps": 9999})
    expect(panel.alert).to_contain_text("Sampling steps")
    text = page.get_by_label("Text", exact=True)
    expect(text).to_have_attribute("aria-invalid", "false")
    text.evaluate("text => { text.value = 'a'.repeat(100_000); text.dispatchEvent(new Event('input')); }")
    expect(text).to_have_attribute("aria-invalid", "true")


def test_downloads_are_of_what_is_shown(visit):
    page = visit()
    panel, sent = sign(page, "cab", Seed=7, **{"Sampling steps": 3}), []
    expect(panel.status).to_have_text(re.compile("Ready"))
    page.get_by_label("Text", exact=True).fill("something else")
    page.get_by_label("Seed", exact=True).fill("8")
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else 0)
    files = {}
    for name in (".pose", "GIF"):
        with page.expect_download() as download:
            panel.button(name).click()
        files[download.value.suggested_filename] = download.value.path().read_bytes()
    assert from_bytes(files["cab.pose"], HOLISTIC_49X2).poses.n_frames == 25
    assert Image.open(io.BytesIO(files["cab.gif"])).format == "GIF"
    assert sent == 2 * [{"text": "cab", "seed": 7, "steps": 3, "guidance": 1, "duration": 2}]


def test_who_signs_and_in_which_language_can_be_chosen_where_the_model_knows_several(visit):
    page = visit(lambda page: page.route("**/v1/model", lambda route: route.fulfill(json=route.fetch().json() | SEVERAL)))
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Sign language").select_option("German Sign Language")
    page.get_by_label("Sign like").select_option("anna")
    expect(sign(page, "cab").status).to_contain_text(re.compile("gsg is ignored.*; signer anna is ignored"))  # by the tiny model
    expect(visit().get_by_label("Sign like")).to_be_hidden()


def test_each_download_waits_for_itself_and_keeps_the_focus(visit):
    busy = {"status": 429, "headers": {"Retry-After": "60"}}
    panel = still(visit(answer("v1/signs", busy, busy)))
    for name in ("GIF", ".pose"):
        panel.button(name).press("Enter")
        expect(panel.half.get_by_role("button", name=f"{name}: try again now")).to_be_focused()
    with panel.page.expect_download() as download:
        panel.half.get_by_role("button", name="GIF: try again now").press("Enter")
    assert download.value.suggested_filename == "cab.gif"
    expect(panel.button("GIF")).to_be_focused()
    expect(panel.half.get_by_role("button", name=".pose: try again now")).to_be_enabled()


def test_what_has_come_is_kept_when_it_is_cancelled_or_lost(visit):
    panel = sign(visit(slow(1000)), "cab")
    expect(panel.status).to_have_text(re.compile("0.6 s so far"))
    panel.button("Cancel").click()
    expect(panel.status).to_have_text(re.compile("Cancelled after 0.6 s"))
    expect(panel.button("One frame forward")).to_be_enabled()
    expect(panel.button("GIF")).to_be_disabled()
    frames = np.zeros((5, HOLISTIC_49X2.n_joints, 2)).tolist()
    start = f'{{"type":"start","fps":12.5,"skeleton":"{HOLISTIC_49X2.name}","dims":2,"seen":[]}}'
    lines = f'{start}\n{{"type":"frames","first":0,"frames":{frames}}}\n{{"type":"fra'
    panel = sign(visit(answer("v1/signs/stream", {"body": lines, "content_type": "application/x-ndjson"})), "cab")
    expect(panel.alert).to_contain_text("connection to the server was lost. What had come until then, 0.4 s")


def ink(panel) -> float:
    """Share of the picture that is drawn on."""
    picture = Image.open(io.BytesIO(base64.b64decode(panel.picture().partition(",")[2])))
    return float((np.asarray(picture.convert("RGBA"))[..., 3] > 0).mean())


def test_a_hand_that_is_not_seen_is_not_drawn(visit):
    """The one hand of this signing is seen in the first frame, and no more."""
    frame = np.random.default_rng(0).normal(0, 0.3, (HOLISTIC_49X2.n_joints, 2)).round(3).tolist()
    left, right = (HOLISTIC_49X2.part(f"{side}_hand") for side in ("left", "right"))
    frame[left] = [[None, None]] * 21
    hidden = list(frame)
    hidden[right] = [[None, None]] * 21
    start = {"type": "start", "fps": 12.5, "skeleton": HOLISTIC_49X2.name, "dims": 2, "seen": [True] * HOLISTIC_49X2.n_joints}
    messages = [start, {"type": "frames", "first": 0, "frames": [frame, hidden, hidden]}, {"type": "end", "n_frames": 3, "seconds": 0.24}]
    body = "\n".join(map(json.dumps, messages)) + "\n"
    panel = sign(visit(answer("v1/signs/stream", {"body": body, "content_type": "application/x-ndjson"})), "cab")
    expect(panel.status).to_have_text(re.compile("Ready"))
    if panel.button("Pause").is_visible():
        panel.button("Pause").click()
    inked = []
    for place in ("Home", "ArrowRight"):
        panel.stage.press(place)
        inked.append(ink(panel))
    assert inked[1] > 0.001
    assert inked[0] > 2 * inked[1]


def test_it_comes_again_where_the_server_is_busy_and_asks_for_a_key_where_it_wants_one(visit):
    busy, unknown = {"status": 429, "headers": {"Retry-After": "1"}}, {"status": 401, "json": {"detail": "A key, please."}}
    page = visit(answer("v1/signs/stream", busy, unknown))
    panel = sign(page, "cab")
    expect(panel.status).to_have_text("The server is busy. It will be asked again in 1 s.")
    expect(page.get_by_role("dialog")).to_contain_text("A key, please.")
    use_key(page, "secret…")  # which no header can hold
    expect(page.get_by_role("dialog")).to_be_visible()
    with page.expect_request("**/v1/signs/stream") as request:
        use_key(page, "secret")
    assert request.value.headers["authorization"] == "Bearer secret"
    expect(panel.status).to_have_text(re.compile("Ready"))


@pytest.mark.parametrize("script", ["", BLOCKED])
def test_a_key_is_kept_once_it_is_accepted_where_the_browser_keeps_anything(visit, script):
    unknown = {"status": 401, "json": {"detail": "A key, please."}}
    page = visit(lambda page: (with_script(script)(page), answer("v1/signs/stream", unknown, unknown)(page)))
    panel, kept = sign(page, "cab"), "sessionStorage.getItem('ms2sl-api-key')"
    with page.expect_response("**/v1/signs/stream"):
        use_key(page, "wrong")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert script or page.evaluate(kept) is None
    use_key(page, "right")
    expect(panel.status).to_have_text(re.compile("Ready"))
    assert script or page.evaluate(kept) == "right"


def test_what_the_model_has_not_learned_cannot_be_asked_for(visit):
    page = visit(lambda page: page.route("**/v1/model", lambda route: route.fulfill(json=route.fetch().json() | {"modalities": ["text"]})))
    panel = Panel(page, "Spoken")
    expect(panel.status).to_have_text("This model has not learned speech.")
    expect(panel.button("Record")).to_be_disabled()
    expect(panel.button("Sign it")).to_be_disabled()


def test_those_who_want_less_motion_see_the_first_frame(visit):
    panel = sign(visit(reduced_motion="reduce"), "cab")
    expect(panel.status).to_have_text(re.compile("Ready"))
    assert panel.frame() == 0
    expect(panel.button("Play")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_every_control_has_a_name_and_room_and_nothing_is_cut_off(visit, width):
    page = still(visit(viewport={"width": width, "height": 844}, has_touch=True, is_mobile=True)).page
    told = page.locator("body").aria_snapshot()
    controls = re.findall(r"- (?:button|textbox|slider|checkbox|combobox|spinbutton|link|img|region)\b.*", told)
    assert len(controls) > 30
    assert [control for control in controls if not re.match(r'- \w+ "\.?\w', control)] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    touched = page.locator("button:visible, select:visible, summary, textarea, .loop:visible, input:visible:not([type=checkbox])").all()
    assert [control.get_attribute("class") for control in touched if control.bounding_box()["height"] < 40] == []

"""Scripts that the browser runs in the page, for its tests."""

# What the server answers comes in pieces of eight frames, a pause before each, as from a slow server.
SLOW = """
const real = fetch;
window.fetch = async (path, options) => {
  const response = await real(path, options);
  if (!path.endsWith("stream") || !response.ok) return response;
  const [start, ...rest] = (await response.text()).trim().split("\\n").map((line) => JSON.parse(line));
  const frames = rest.flatMap((message) => message.frames ?? []), firsts = frames.map((_, i) => i).filter((i) => i % 8 === 0);
  const pieces = firsts.map((first) => ({ type: "frames", first, frames: frames.slice(first, first + 8) }));
  return new Response(new ReadableStream({ async start(stream) {
    options.signal.onabort = () => stream.error(options.signal.reason);
    for (const message of [start, ...pieces, rest.at(-1)]) {
      await new Promise((done) => setTimeout(done, PAUSE));
      stream.enqueue(new TextEncoder().encode(JSON.stringify(message) + "\\n"));
    }
    stream.close();
  } }), response);
};
"""

# The most pictures that a player has ever asked for at once: more than one, and it draws more than once for each picture of the screen.
COUNTED = """
const ask = requestAnimationFrame, cancel = cancelAnimationFrame, asked = new Set();
window.most = 0;
window.requestAnimationFrame = (draw) => {
  const id = ask((now) => {
    asked.delete(id);
    draw(now);
  });
  asked.add(id);
  window.most = Math.max(window.most, asked.size);
  return id;
};
window.cancelAnimationFrame = (id) => {
  asked.delete(id);
  cancel(id);
};
"""
# Where the two players are right after a click, and at each of the next twenty pictures of the screen.
CLICKED = """
async (button) => {
  const positions = () => [...document.querySelectorAll(".scrub")].map((range) => range.valueAsNumber);
  await new Promise(requestAnimationFrame);
  for (const until = performance.now() + 100; performance.now() < until;);
  button.click();
  const seen = [positions()];
  while (seen.length < 20) {
    await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done));
    seen.push(positions());
  }
  return seen;
}
"""
BLOCKED = 'Object.defineProperty(window, "sessionStorage", { get() { throw new DOMException("No.", "SecurityError"); } });'
UNPLUGGED = """
const media = navigator.mediaDevices, real = media.getUserMedia.bind(media);
media.getUserMedia = async (wanted) => (window.microphone = await real(wanted));
window.unplug = () => microphone.getTracks().forEach((track) => { track.stop(); track.dispatchEvent(new Event("ended")); });
"""

# A description of a model that knows several sign languages and signers.
SEVERAL = {"choices": {"signed_language": ["ase", "gsg"], "signer": ["anna"]}}

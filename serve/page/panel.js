// One way to say something, and its signing: asks, plays while it comes, and offers it as files.

import { model as ask, Problem, stream } from "./api.js";
import { Downloads } from "./downloads.js";
import * as options from "./options.js";
import { Player } from "./player.js";
import { countdown, patiently } from "./retry.js";
import { Signing } from "./signing.js";

const EVERY = 10_000; // milliseconds between two announcements of how far it is

export class Panel {
  /** ``collect`` gives what is to be signed, as ``{request, title, name}``, or throws a Problem that says what is missing. */
  constructor(section, model, collect) {
    const template = document.getElementById("player");
    section.append(template.content.cloneNode(true));
    this.find = (selector) => section.querySelector(selector);
    Object.assign(this, { section, model, collect, abort: null, shown: null, told: 0 });
    const name = this.find("h2").textContent;
    this.find(".player").ariaLabel = `Player, ${name.toLowerCase()}`;
    this.find(".stage").ariaLabel = "Signing. Space plays and pauses, the arrow keys go one frame on or back.";
    this.find("canvas").ariaLabel = "No signing yet";
    this.player = new Player(section, (waiting) => waiting && this.progress(true));
    this.find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.sign();
    });
    this.find(".cancel").addEventListener("click", () => this.abort?.abort());
    this.downloads = new Downloads(this.find(".downloads"), model, (words) => this.say(words), (words) => this.fail(words));
  }

  /** Until then it cannot be used. */
  enable() {
    for (const element of [this.find("fieldset"), this.find(".primary")]) element.disabled = false;
  }

  async sign() {
    this.fail("");
    let said;
    try {
      said = this.collect();
      Object.assign(said.request, options.read());
    } catch (problem) {
      return this.fail(problem.message);
    }
    this.abort?.abort();
    this.stop();
    const abort = (this.abort = new AbortController());
    this.busy(true);
    this.say("Signing…");
    try {
      await patiently(() => this.receive(said, abort.signal), (problem) => this.wait(problem, abort.signal));
    } catch (problem) {
      if (this.abort === abort) this.end(problem, abort.signal.aborted);
    }
    if (this.abort === abort) {
      this.abort = null;
      this.busy(false);
    }
  }

  async receive(said, signal) {
    for await (const message of stream(said.request, signal)) {
      signal.throwIfAborted();
      if (message.type === "start") {
        await this.know(message.skeleton);
        signal.throwIfAborted();
        this.begin(new Signing(message, this.model.skeleton), { remarks: message.remarks ?? [], ...said });
      }
      if (message.type === "frames") {
        this.player.signing.add(message);
        this.player.grown();
        this.progress();
      }
      if (message.type === "end") this.finish(said);
    }
  }

  /** The server may have another model than when the page was loaded. */
  async know(skeleton) {
    if (skeleton === this.model.skeleton.name) return;
    Object.assign(this.model, await ask());
    if (skeleton !== this.model.skeleton.name) throw new Problem("The server has just changed its model. Sign it again.");
  }

  begin(signing, { remarks, ...said }) {
    Object.assign(this, { started: signing, shown: null, told: -Infinity, remarks });
    this.player.load(signing);
    this.find("canvas").ariaLabel = `Signing of ${said.title}`;
    this.find(".shown").textContent = describe(said);
    this.changed();
  }

  finish(said) {
    this.shown = said;
    this.stop();
    this.say([`Ready: ${seconds(this.player.signing)} of signing`, ...this.remarks].join("; "));
  }

  /** It ended before it was whole; what has come in stays. */
  end(problem, cancelled) {
    const begun = this.started?.length ? this.started : null;
    this.stop();
    this.say(cancelled ? (begun ? `Cancelled after ${seconds(begun)} of signing` : "Cancelled") : "");
    if (!cancelled) this.fail(problem.message + (begun ? ` What had come until then, ${seconds(begun)} of signing, can be played.` : ""));
  }

  stop() {
    if (!this.started) return;
    this.started.complete = true;
    this.started = null;
    this.player.grown();
    this.changed();
  }

  changed() {
    this.downloads.offer(this.shown, this.player.signing.length);
    this.section.dispatchEvent(new Event("signing", { bubbles: true }));
  }

  async wait({ status, message, retryAfter }, signal) {
    this.say(`${status === 429 ? "The server is busy." : message} It will be asked again in ${Math.ceil(retryAfter)} s.`);
    const again = this.find(".again");
    again.hidden = false;
    try {
      await countdown(retryAfter, again, signal);
    } finally {
      this.hide(again);
    }
    this.say("Signing…");
  }

  progress(now = false) {
    if (!this.started || (!now && performance.now() - this.told < EVERY)) return;
    this.told = performance.now();
    this.say(`${this.player.waiting ? "Waiting for more" : "Signing"}… ${seconds(this.started)} so far`);
  }

  busy(busy) {
    if (busy) this.find(".cancel").hidden = false;
    else this.hide(this.find(".cancel"));
  }

  /** Whoever is on the button is not lost with it. */
  hide(button) {
    if (button === document.activeElement) this.find(".primary").focus();
    button.hidden = true;
  }

  say(words) {
    this.find(".status").textContent = words;
  }

  fail(words) {
    const alert = this.find(".alert");
    alert.textContent = words;
    alert.hidden = !words;
  }
}

function seconds(signing) {
  return `${signing.seconds.toFixed(1)} s`;
}

function describe({ title, request: { steps, guidance, seed, duration, fps } }) {
  const more = [duration && `${duration} s`, fps && `${fps} frames a second`].filter(Boolean);
  return [title, `${steps} ${steps === 1 ? "step" : "steps"}`, `guidance ${guidance}`, `seed ${seed}`, ...more].join(" · ");
}

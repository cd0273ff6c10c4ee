// Plays one signing while it still comes in: the clock, and the controls.

import { Drawing } from "./drawing.js";

const AHEAD = 0.4; // seconds that must be there before it goes on after waiting
const LONGEST = 0.25; // seconds between two pictures that count, so that it goes on where it was when the page was out of sight
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const SCHEME = matchMedia("(prefers-color-scheme: dark)");

export class Player {
  /** ``root``: a copy of the template; ``changed(waiting)`` is called when it starts or stops waiting. */
  constructor(root, changed = () => {}) {
    const find = (selector) => root.querySelector(selector);
    Object.assign(this, { root, changed, signing: null, position: 0, playing: false, waiting: false, partner: null });
    this.stage = find(".stage");
    this.canvas = find("canvas");
    this.drawing = new Drawing(this.canvas);
    this.controls = find(".controls");
    [this.scrub, this.button, this.time, this.speed] = [".scrub", ".play", ".time", ".speed"].map(find);
    this.loop = find(".loop input");
    this.listen(find);
    new ResizeObserver(() => this.drawing.fit() && this.show()).observe(this.canvas);
    SCHEME.addEventListener("change", () => {
      this.drawing.colours = null;
      this.show();
    });
  }

  listen(find) {
    this.button.addEventListener("click", () => this.toggle());
    this.stage.addEventListener("click", () => this.toggle());
    this.scrub.addEventListener("input", () => this.seek(this.scrub.valueAsNumber));
    find(".back").addEventListener("click", () => this.step(-1));
    find(".forward").addEventListener("click", () => this.step(1));
    for (const element of [this.stage, this.scrub]) element.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const act = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      Home: () => this.seek(0),
      End: () => this.seek(this.last),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  get last() {
    return Math.max(0, (this.signing?.length ?? 0) - 1);
  }

  /** How far it may play now. The camera looks ahead, so what has just come in is not shown at once. */
  get end() {
    return this.signing.complete ? this.signing.length : Math.max(0, this.last - this.signing.reach);
  }

  load(signing) {
    this.pause();
    Object.assign(this, { signing, position: 0, waiting: false, partner: null });
    this.controls.disabled = true;
    this.drawing.clear();
    this.show();
  }

  /** To be called when frames have come in, or the last of them. */
  grown() {
    const isFirst = this.controls.disabled && this.signing.length > 0;
    if (isFirst) {
      this.controls.disabled = false;
      if (!STILL.matches) this.play();
    }
    if (!this.playing) this.show();
  }

  toggle() {
    this.partner = null;
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.playing || !this.signing?.length) return;
    if (this.signing.complete && this.position >= this.last) this.position = 0;
    Object.assign(this, { playing: true, before: null });
    this.awaitTick();
    this.show();
  }

  awaitTick() {
    this.next = requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    cancelAnimationFrame(this.next);
    this.playing = false;
    this.wait(false);
    this.show();
  }

  seek(position) {
    this.partner = null;
    this.position = Math.max(0, Math.min(position, this.last));
    this.wait(false);
    this.show();
  }

  step(frames) {
    this.pause();
    this.seek(frames > 0 ? Math.floor(this.position) + 1 : Math.ceil(this.position) - 1);
  }

  tick(now) {
    if (!this.playing) return;
    const passed = this.before === null ? 0 : Math.min((now - this.before) / 1000, LONGEST);
    this.before = now;
    const { signing, end } = this;
    if (this.waiting && (signing.complete || end - this.position > AHEAD * signing.fps)) this.wait(false);
    if (!this.waiting) this.position += passed * signing.fps * Number(this.speed.value);
    if (this.position >= end) this.arrive(end);
    if (!this.playing) return;
    this.show();
    this.awaitTick();
  }

  /** At the end of what is there: waits, goes round, or stops. */
  arrive(end) {
    this.position = end;
    if (!this.signing.complete) this.wait(true);
    else if (!this.loop.checked) this.pause();
    else if (this.partner?.partner !== this || !this.partner.playing) this.position = 0;
    else if (this.partner.position >= this.partner.end) this.together(this.partner, this.before);
  }

  wait(waiting) {
    if (this.waiting === waiting) return;
    this.waiting = waiting;
    this.root.querySelector(".waiting").hidden = !waiting;
    this.changed(waiting);
  }

  /** Both from the start, by one clock, and where they loop, both again when the longer one has ended. */
  together(other, before = null) {
    for (const [player, partner] of [[this, other], [other, this]]) {
      Object.assign(player, { position: 0, partner, before });
      if (player.playing) player.show();
      else player.play();
    }
  }

  show() {
    const { signing } = this;
    const there = Boolean(signing?.length);
    this.root.querySelector(".empty").hidden = there;
    this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.root.classList.toggle("playing", this.playing);
    const at = there ? Math.min(this.position, signing.length) / signing.fps : 0;
    this.time.textContent = there ? `${at.toFixed(1)} / ${signing.seconds.toFixed(1)} s${signing.complete ? "" : "…"}` : "";
    this.scrub.max = this.last;
    this.scrub.value = this.position;
    this.scrub.setAttribute("aria-valuetext", `${at.toFixed(2)} of ${(signing?.seconds ?? 0).toFixed(2)} seconds`);
    if (!there) return;
    this.drawing.fit();
    this.drawing.draw(signing, Math.min(this.position, this.last));
  }
}

// The files of what is shown: a button for each kind that the server can make, each with its own waiting.

import { file } from "./api.js";
import { countdown, patiently } from "./retry.js";

const POSE = "application/pose";
const FILES = { [POSE]: [".pose", "pose"], "image/gif": ["GIF", "gif"], "video/mp4": ["MP4", "mp4"] };

export class Downloads {
  /** ``say(words)`` is told how far a file is, ``fail(words)`` what went wrong; no words take it away. */
  constructor(place, { formats, limits }, say, fail) {
    this.most = limits.rendered_frames;
    this.kinds = Object.keys(FILES).filter((type) => formats.includes(type)).map((type) => new Download(type, say, fail));
    this.note = Object.assign(document.createElement("span"), { className: "hint" });
    place.replaceChildren("Download", ...this.kinds.map((kind) => kind.button), this.note);
    this.offer(null, 0);
  }

  /** What can be had as files, null if nothing can, and how many frames it has. */
  offer(said, frames) {
    const long = said && frames > this.most;
    for (const kind of this.kinds) kind.offer(long && kind.type !== POSE ? null : said);
    this.note.textContent = long ? `GIF and MP4 are made of up to ${this.most} frames.` : "";
  }
}

class Download {
  constructor(type, say, fail) {
    const [label, ending] = FILES[type];
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    Object.assign(this, { type, label, ending, button, say, fail, busy: false });
    button.addEventListener("click", () => !this.busy && this.said && this.make(this.said));
  }

  offer(said) {
    this.said = said;
    this.show();
  }

  /** Not by ``disabled``, which would take the focus from the button. */
  show(waiting = false) {
    this.button.ariaDisabled = String(!waiting && (this.busy || !this.said));
  }

  async make(said) {
    this.busy = true;
    this.show();
    this.fail("");
    this.say(`Making the ${this.label} file…`);
    try {
      const blob = await patiently(() => file(said.request, this.type), (problem) => this.wait(problem));
      save(blob, `${said.name}.${this.ending}`);
      this.say(`Saved ${said.name}.${this.ending}`);
    } catch (problem) {
      this.say("");
      this.fail(problem.message);
    }
    this.busy = false;
    this.show();
  }

  async wait({ retryAfter }) {
    this.say(`The server is asked again for the ${this.label} file in ${Math.ceil(retryAfter)} s.`);
    this.show(true);
    await countdown(retryAfter, this.button, new AbortController().signal, `${this.label}: try again now`);
    this.button.textContent = this.label;
    this.show();
  }
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

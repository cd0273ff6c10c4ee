// What is to be signed, in speech: from the microphone, or from a file.

import { Problem } from "./api.js";
import { longest, Recorder } from "./recorder.js";
import { clock } from "./words.js";

const [record, file, listen, recording, level, seconds] = ["record", "file", "listen", "recording", "level", "seconds"].map((id) =>
  document.getElementById(id),
);
let speech = null;
let recorder = null;
let starting = false;

/** ``tell(words)`` shows what went wrong; no words take it away. */
export function setUp({ limits }, tell) {
  record.addEventListener("click", () => (recorder ? stop() : start(limits, tell)));
  file.addEventListener("change", () => {
    tell("");
    if (!file.files.length) return;
    const [chosen] = file.files;
    if (chosen.size > limits.upload_bytes) {
      file.value = "";
      tell(`This file has ${megabytes(chosen.size)}; ${megabytes(limits.upload_bytes)} is the most that can be sent.`);
    } else hold(chosen);
  });
  document.getElementById("hears").textContent = `Up to ${clock(longest(limits))}; wav, flac, mp3, ogg, m4a or webm. Audio goes only to this server, and is not kept there.`;
  return collect;
}

function collect() {
  if (recorder) stop();
  if (!speech) throw new Problem("Record something first, or choose an audio file.");
  return { request: { speech }, title: speech.name, name: speech.name.replace(/\.[^.]+$/, "") || "speech" };
}

async function start(limits, tell) {
  if (starting) return;
  starting = true;
  file.disabled = true; // a file chosen now would be lost when the recording ends
  tell("");
  const lost = () => {
    stop();
    tell("The microphone is gone. What it had heard until then can be signed.");
  };
  try {
    recorder = await Recorder.start({ limits, heard: show, full: stop, lost });
  } catch (problem) {
    file.disabled = false;
    return tell(problem.message);
  } finally {
    starting = false;
  }
  listen.pause();
  listen.hidden = true;
  recording.hidden = false;
  record.textContent = "Stop recording";
  record.classList.add("on");
  show(0, recorder);
}

function show(loudness, { seconds: length, longest }) {
  level.value = loudness;
  seconds.textContent = `${length.toFixed(1)} s of ${clock(longest)} at most`;
}

function stop() {
  if (!recorder) return;
  const made = recorder.stop();
  recorder = null;
  recording.hidden = true;
  record.textContent = "Record again";
  record.classList.remove("on");
  file.value = "";
  file.disabled = false;
  hold(made);
}

function hold(made) {
  speech = made;
  URL.revokeObjectURL(listen.src);
  listen.src = URL.createObjectURL(made);
  listen.hidden = false;
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

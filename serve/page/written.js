// What is to be signed, in writing.

import { Problem } from "./api.js";
import { characters } from "./words.js";

const EXAMPLES = ["hello", "jazz", "quick", "maple"];
const text = document.getElementById("text");
const count = document.getElementById("count");

export function setUp(model, sign) {
  const most = model.limits.text_characters;
  const show = () => {
    const length = [...text.value].length;
    count.textContent = `${length} / ${most}`;
    text.setAttribute("aria-invalid", length > most);
    count.classList.toggle("over", length > most);
  };
  text.lang = model.spoken_languages?.[0] ?? "";
  text.addEventListener("input", show);
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    sign();
  });
  document.getElementById("reads").textContent = characters(model) && `of ${characters(model)}`;
  const known = EXAMPLES.filter((word) => !model.characters || [...word].every((letter) => model.characters.includes(letter)));
  document.getElementById("examples").append(...known.map((word) => button(word, () => {
    text.value = word;
    show();
    sign();
  })));
  show();
  return () => collect(most);
}

function collect(most) {
  const length = [...text.value].length;
  if (!text.value.trim()) {
    text.focus();
    throw new Problem("Write a word first, or choose an example.");
  }
  if (length > most) throw new Problem(`The text has ${length} characters; ${most} is the most that can be signed at once.`);
  const words = text.value.trim();
  return { request: { text: text.value }, title: `“${words.length > 60 ? `${words.slice(0, 60)}…` : words}”`, name: fileName(words) };
}

function button(label, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: label });
  made.addEventListener("click", act);
  return made;
}

function fileName(words) {
  return words.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40) || "signing";
}

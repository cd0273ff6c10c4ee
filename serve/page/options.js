// How to sign: the options that both panels share.

import { Problem } from "./api.js";
import { language } from "./words.js";

const details = document.getElementById("options");
const form = document.getElementById("choices");

export function setUp({ sampling, limits, fps, choices }) {
  const inputs = form.elements;
  for (const name of ["steps", "guidance"]) inputs[name].value = sampling[name];
  for (const name of ["steps", "guidance", "duration", "fps"]) inputs[name].max = limits[name];
  inputs.fps.placeholder = fps;
  for (const [name, values] of Object.entries(choices).filter(([name]) => name in inputs)) {
    inputs[name].append(...values.map((value) => new Option(name === "signed_language" ? language(value) : value, value)));
    inputs[name].labels[0].hidden = false;
  }
  document.getElementById("another").addEventListener("click", () => {
    inputs.seed.value = Math.floor(Math.random() * 2 ** 31);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

/** The options by name, null where the model is to decide. Shows what is wrong, and throws a Problem. */
export function read() {
  const inputs = [...form.querySelectorAll("input, select")];
  const wrong = inputs.find((input) => !input.checkValidity());
  if (wrong) {
    details.open = true;
    wrong.focus();
    throw new Problem(`${wrong.labels[0].textContent.trim()}: ${wrong.validationMessage}`);
  }
  return Object.fromEntries(inputs.map((input) => [input.name, input.value === "" ? null : input.valueAsNumber ?? input.value]));
}

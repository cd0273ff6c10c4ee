// The page: asks what the model can do, then puts its parts together.

import { model as ask, onKeyNeeded } from "./api.js";
import { askForKey } from "./key.js";
import * as options from "./options.js";
import { Panel } from "./panel.js";
import { patiently } from "./retry.js";
import * as spoken from "./spoken.js";
import { learned } from "./words.js";
import * as written from "./written.js";

const at = (id) => document.getElementById(id);

async function start() {
  onKeyNeeded(askForKey);
  const model = await patiently(ask, (problem) => {
    at("learned").textContent = `${problem.message} The server is asked again soon…`;
    return new Promise((resolve) => setTimeout(resolve, 1000 * problem.retryAfter));
  });
  at("learned").textContent = learned(model);
  at("version").textContent = `· ${model.name} ${model.version}`;
  options.setUp(model);
  const panels = {
    text: new Panel(at("written"), model, written.setUp(model, () => panels.text.sign())),
    speech: new Panel(at("spoken"), model, spoken.setUp(model, (words) => panels.speech.fail(words))),
  };
  for (const [modality, panel] of Object.entries(panels)) {
    if (model.modalities.includes(modality)) panel.enable();
    else panel.say(`This model has not learned ${modality}.`);
  }
  compare(panels.text.player, panels.speech.player);
}

function compare(one, other) {
  const show = () => (at("both").disabled = !(one.signing?.complete && other.signing?.complete && one.signing.length && other.signing.length));
  document.addEventListener("signing", show);
  at("both").addEventListener("click", () => one.together(other));
}

start().catch((problem) => {
  at("learned").textContent = "";
  at("trouble").textContent = `${problem.message} Load this page again to try once more.`;
  at("trouble").hidden = false;
});

// What is wrong, at the top of the page for as long as it lasts.

import { write } from "./write.js";

const WORDS = {
  offline: "Your browser is offline. You see what was known before.",
  api: "The API stub does not answer. Events wait in NATS until it is back.",
  stream: "The live connection is interrupted. The page reconnects and catches up by itself.",
  nats: "NATS does not answer. The worker keeps its events in its outbox until it is back.",
  mongo: "MongoDB does not answer. Events wait in NATS until it is back.",
};

/** Shows or hides a notice. `reason` is what the server says about it. */
export function notice(name, wrong, reason = "") {
  const list = document.getElementById("notices");
  const shown = list.querySelector(`[data-notice="${name}"]`);
  if (!wrong) {
    shown?.remove();
    return;
  }
  const item = shown ?? document.createElement("li");
  const words = reason ? `${WORDS[name]} (${reason})` : WORDS[name];
  write(item, words);
  if (!shown) {
    item.dataset.notice = name;
    list.append(item);
  }
}

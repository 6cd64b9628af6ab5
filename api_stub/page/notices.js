// What is wrong, in plain words, at the top of the page for as long as it lasts.

const WORDS = {
  offline: "Your browser is offline. What you see is as old as the last event below.",
  api: "The API stub does not answer. Events wait in NATS until it is back.",
  stream: "The live connection is interrupted; trying again. The page catches up by itself.",
  nats: "NATS does not answer. The worker keeps its events in its outbox until it is back.",
  mongo: "MongoDB does not answer. Events wait in NATS until it is back.",
};

/** Shows or hides one of the notices above; `reason` is the server's own word for it. */
export function notice(name, wrong, reason = "") {
  const list = document.getElementById("notices");
  const shown = list.querySelector(`[data-notice="${name}"]`);
  if (!wrong) {
    shown?.remove();
    return;
  }
  const item = shown ?? document.createElement("li");
  const words = reason ? `${WORDS[name]} (${reason})` : WORDS[name];
  if (item.textContent !== words) item.textContent = words;
  if (!shown) {
    item.dataset.notice = name;
    list.append(item);
  }
}

// Draws what vidmem/ui/live_view.py tells. The body of a function that Gradio calls with `element`, `props`, `watch` ...
// A stream's card stays the same element while its numbers change, so that a focus stays where it is.

const part = (name) => element.querySelector(`.lv-${name}`);
const root = element.querySelector(".lv");
const cards = new Map();

function say(made, text) {
  if (made.textContent !== text) made.textContent = text;
}

function button(what, text) {
  const made = make("button", "", text);
  made.type = "button";
  made.dataset.do = what;
  return made;
}

function cardOf(key) {
  if (cards.has(key)) return cards.get(key);
  const card = make("article", "lv-stream");
  const picture = make("div", "lv-picture");
  picture.append(make("span", "lv-seen"));
  const head = make("div", "lv-head");
  const keys = make("div", "lv-keys");
  keys.append(button("choose", "Ask about it"), button("open", "Look into it"), button("stop", "Stop"));
  head.append(make("h3"), keys);
  const says = make("p", "lv-says");
  says.setAttribute("role", "status");
  const alerts = make("ul", "lv-alerts");
  alerts.setAttribute("aria-label", "Alerts");
  const body = make("div");
  body.append(head, says, make("dl", "lv-facts"), alerts);
  card.append(picture, body);
  for (const one of keys.children) one.dataset.key = key;
  cards.set(key, card);
  return card;
}

function show(stream) {
  const card = cardOf(stream.key);
  card.className = `lv-stream lv-${stream.mood}`;
  say(card.querySelector("h3"), stream.name);
  say(card.querySelector(".lv-says"), stream.says);
  say(card.querySelector(".lv-seen"), stream.seen);
  const [choose, open, stop] = card.querySelector(".lv-keys").children;
  choose.setAttribute("aria-pressed", String(stream.chosen));
  say(stop, stream.running ? "Stop" : "Put away");
  stop.dataset.do = stream.running ? "stop" : "dismiss";
  for (const one of [choose, open, stop]) one.setAttribute("aria-label", `${one.textContent}: ${stream.name}`);
  facts(card.querySelector(".lv-facts"), stream.facts);
  alerts(card.querySelector(".lv-alerts"), stream);
  picture(card.querySelector(".lv-picture"), stream);
  return card;
}

function facts(list, told) {
  if (list.children.length !== told.length) {
    list.replaceChildren(...told.map(() => make("div")));
    for (const one of list.children) one.append(make("dt"), make("dd"));
  }
  told.forEach((fact, index) => {
    const made = list.children[index];
    made.title = fact.about;
    say(made.firstChild, fact.name);
    say(made.lastChild, fact.value);
  });
}

// What is to be told, and the latest that was, each with its picture that leads there.
function alerts(list, stream) {
  const now = JSON.stringify([stream.alerts, stream.unchecked]);
  if (list.dataset.drawn === now) return;
  list.dataset.drawn = now;
  const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  list.replaceChildren(...stream.alerts.map((alert) => alertOf(alert, stream)));
  list.hidden = !stream.alerts.length;
  if (stream.unchecked) list.append(make("li", "lv-unchecked", `Not all could be checked: ${stream.unchecked}`));
  if (focused) [...list.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === focused)?.focus();
}

function alertOf(alert, stream) {
  const made = make("li");
  const head = make("div", "lv-alert");
  const remove = button("forget-alert", "Remove");
  Object.assign(remove.dataset, { key: stream.key, id: alert.id });
  remove.setAttribute("aria-label", `Remove the alert: ${alert.text}`);
  head.append(make("b", "", alert.text), make("span", "", alert.state), remove);
  const told = make("div", "lv-told");
  told.setAttribute("role", "log");
  told.setAttribute("aria-label", `What was told: ${alert.text}`);
  told.append(...alert.told.map((one) => evidence(one, stream)));
  made.append(head, told);
  return made;
}

// The page itself goes to the player where there is a time (`scripts/page.js`).
function evidence(one, stream) {
  const made = button("choose", "");
  Object.assign(made.dataset, { key: stream.key, video: stream.video, seek: one.at });
  made.setAttribute("aria-label", `See it: ${one.message}`);
  if (one.thumbnail) made.append(imageOf(one.thumbnail));
  made.append(make("span", "", one.message));
  return made;
}

// The next picture takes the place of the last one only once it is there, so that nothing flickers.
function picture(frame, stream) {
  if (!stream.thumbnail || frame.dataset.shown === stream.thumbnail) return;
  frame.dataset.shown = stream.thumbnail;
  const image = new Image();
  image.alt = `The newest frame of ${stream.name}`;
  image.addEventListener("load", () => {
    frame.querySelector("img")?.remove();
    frame.prepend(image);
  });
  image.src = addressOf(stream.thumbnail);
}

function work(job) {
  const made = make("div", `lv-job lv-${job.phase}`);
  made.setAttribute("role", job.phase === "failed" ? "alert" : "status");
  const says = make("div");
  says.append(make("b", "", job.subject), make("span", "", job.message));
  const key = button(job.over ? "forget" : "cancel", job.over ? "Dismiss" : "Cancel");
  key.dataset.key = job.id;
  made.append(says, key);
  return made;
}

root.addEventListener("click", (event) => {
  const key = event.target.closest("button[data-do]");
  if (key) trigger("select", { do: key.dataset.do, key: key.dataset.key, id: key.dataset.id });
});

function read() {
  const told = props.value || { streams: [], jobs: [] };
  const now = JSON.stringify(told.jobs);
  if (part("jobs").dataset.drawn !== now) {
    part("jobs").dataset.drawn = now;
    part("jobs").replaceChildren(...told.jobs.map(work));
  }
  const keys = new Set(told.streams.map((stream) => stream.key));
  for (const [key, card] of cards) {
    if (keys.has(key)) continue;
    card.remove();
    cards.delete(key);
  }
  told.streams.map(show).forEach((card, index) => {
    const list = part("streams");
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
  });
  part("none").hidden = told.streams.length > 0 || told.jobs.length > 0;
}

watch("value", read);
read();

// Draws what vidmem/ui/three_stores.py tells. The body of a function that Gradio calls with `element`, `props`, `watch`.

const NUMBERS = { sensory: "1", working: "2", "long-term": "3" };
const [SLIDE_MS, FLY_MS] = [250, 700];
const PICTURE_PX = 58; // of a picture on the map, with what it keeps free around it
const SVG = "http://www.w3.org/2000/svg";

const part = (name) => element.querySelector(`.ts-${name}`);
const root = element.querySelector(".ts");
const card = part("card");
const cursors = {}; // of each group of buttons: the key of the one that Tab goes to
let told = null;

function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = told.hours ? `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}` : two(Math.floor(whole / 60));
  return `${minutes}:${two(whole % 60)}`;
}

const span = (one) => (one.end - one.start > 1.5 ? `${clock(one.start)}–${clock(one.end)}` : clock(one.start));
const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden;

// What is said of one element, on its card and to a screen reader

function facts(one, store) {
  const facts = [];
  if (store === "long-term" && one.frames >= 1.05) facts.push(`stands for ${Math.round(one.frames * 10) / 10} frames`);
  if (store !== "sensory" && one.life) facts.push(`got ${one.usage} of ${one.life} looks into memory`);
  else if (store !== "sensory") facts.push("not looked at yet");
  return facts;
}

function elementButton(one, store, share) {
  const button = make("button", "ts-one");
  button.type = "button";
  button.dataset.seek = one.at;
  button.dataset.key = keyOf(one, store);
  button.dataset.at = one.at;
  button.one = one;
  button.store = store;
  button.setAttribute("aria-label", `${span(one)}${[...facts(one, store)].map((fact) => `, ${fact}`).join("")}`);
  button.append(one.thumbnail ? imageOf(told.thumbnails + one.thumbnail) : make("span", "ts-blank"));
  if (store === "long-term") {
    const meter = make("span", "ts-meter");
    meter.style.setProperty("--share", share);
    button.append(meter);
  }
  return button;
}

const keyOf = (one, store) => `${store} ${one.level ?? 0} ${one.start} ${one.end}`;

// The three boxes and what moves between them

function drawFlow() {
  const flow = part("flow");
  if (!flow.children.length) {
    told.boxes.forEach((box, index) => flow.append(...(index ? [arrow()] : []), frameOf(box)));
  }
  const before = places();
  told.boxes.forEach(fill);
  flow.querySelectorAll(".ts-arrow span").forEach((label, index) => (label.textContent = told.arrows[index]));
  if (before.size && !isCalm()) move(before);
}

function frameOf(box) {
  const made = make("article", `ts-box ts-${box.store}`);
  const title = make("h3", "", box.title);
  title.dataset.number = NUMBERS[box.store];
  const held = make("div", "ts-held");
  held.setAttribute("role", "group");
  held.setAttribute("aria-label", box.title);
  made.append(title, make("p", "ts-says", box.says), make("div", "ts-room"), held, make("p", "ts-note"));
  return made;
}

function arrow() {
  const made = make("div", "ts-arrow");
  const sign = document.createElementNS(SVG, "svg");
  sign.setAttribute("viewBox", "0 0 48 24");
  sign.setAttribute("aria-hidden", "true");
  sign.innerHTML = '<path d="M0 8h30V0l18 12-18 12v-8H0z"/>';
  made.append(sign, make("span"));
  return made;
}

function fill(box) {
  const made = root.querySelector(`.ts-box.ts-${box.store}`);
  const room = made.querySelector(".ts-room");
  room.replaceChildren(make("span", "ts-full", box.full), make("span", "ts-bytes", box.bytes));
  room.style.setProperty("--share", box.share);
  made.querySelector(".ts-note").textContent = box.note || (box.store === "long-term" ? told.reads : "");
  const most = Math.max(0, ...box.held.map((one) => one.usage));
  keep(made.querySelector(".ts-held"), box.held, box.store, (one) => elementButton(one, box.store, most ? one.usage / most : 0));
}

// Buttons of what is still there stay as they are, with their focus; so pictures do not flicker.
function keep(held, ones, store, build) {
  const there = new Map([...held.children].map((button) => [button.dataset.key, button]));
  const isFocused = held.contains(document.activeElement);
  const wanted = ones.map((one) => {
    const button = there.get(keyOf(one, store));
    return button && JSON.stringify(button.one) === JSON.stringify(one) ? button : build(one);
  });
  const stay = new Set(wanted);
  const focused = document.activeElement?.dataset?.key;
  for (const button of [...held.children]) if (!stay.has(button)) button.remove();
  wanted.forEach((button, index) => held.children[index] !== button && held.insertBefore(button, held.children[index] ?? null));
  rove(held, store);
  if (isFocused && !held.contains(document.activeElement)) {
    (wanted.find((button) => button.dataset.key === focused) ?? wanted.at(-1))?.focus({ preventScroll: true });
  }
}

function rove(group, name) {
  const buttons = [...group.querySelectorAll("button")];
  const reached = buttons.find((button) => button.dataset.key === cursors[name]) ?? buttons.at(-1);
  for (const button of buttons) button.tabIndex = button === reached ? 0 : -1;
}

// Where each frame's picture is, by when the frame was: the furthest store that it has come to.
function places() {
  const found = new Map();
  for (const button of root.querySelectorAll(".ts-held .ts-one")) {
    if (button.querySelector("img")) found.set(`${button.store} ${button.dataset.at}`, button.getBoundingClientRect());
  }
  return found;
}

const BEFORE = { working: "sensory", "long-term": "working" };

function move(before) {
  let delay = 0;
  for (const button of root.querySelectorAll(".ts-held .ts-one")) {
    const { store } = button;
    const { at } = button.dataset;
    const own = before.get(`${store} ${at}`);
    const from = before.get(`${BEFORE[store]} ${at}`);
    if (own) slide(button, own);
    else if (from) fly(button, from, Math.min((delay += 25), 500));
    else button.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 300 });
  }
}

function slide(button, from) {
  const to = button.getBoundingClientRect();
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (Math.abs(x) + Math.abs(y) < 2 || !isInView(button, to)) return;
  button.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: SLIDE_MS, easing: "ease-out" });
}

// Its box scrolls.
function isInView(button, to) {
  const box = button.parentElement.getBoundingClientRect();
  return to.bottom >= box.top && to.top <= box.bottom;
}

// A box hides what sticks out of it: so it is a copy that flies over, and the button appears where it lands.
function fly(button, from, delay) {
  const to = button.getBoundingClientRect();
  const image = button.querySelector("img")?.cloneNode();
  if (!image || !isInView(button, to)) return;
  const home = root.getBoundingClientRect();
  image.className = "ts-flying";
  image.loading = "eager";
  Object.assign(image.style, { left: `${from.left - home.left}px`, top: `${from.top - home.top}px`, width: `${from.width}px`, height: `${from.height}px` });
  root.append(image);
  button.animate([{ opacity: 0 }, { opacity: 0, offset: 0.95 }, { opacity: 1 }], { duration: FLY_MS + delay });
  const shift = `translate(${to.left - from.left}px, ${to.top - from.top}px) scale(${to.width / from.width}, ${to.height / from.height})`;
  const flight = image.animate([{ transform: "none" }, { transform: shift }], { duration: FLY_MS, delay, easing: "ease-in-out", fill: "both" });
  flight.finished.finally(() => image.remove());
}

// The map

function drawMap() {
  const plane = part("plane");
  const ones = told.boxes[2].held;
  part("map").classList.toggle("ts-empty", !ones.length);
  if (!ones.length) return plane.replaceChildren(make("p", "ts-none", "Nothing has come into long-term memory yet."));
  plane.querySelector(".ts-none")?.remove();
  const [width, height] = [plane.clientWidth, plane.clientHeight];
  const [first, last] = [Math.min(...ones.map((one) => one.start)), Math.max(...ones.map((one) => one.end))];
  const tallest = Math.max(1e-9, ...ones.map((one) => Math.abs(one.y)));
  const most = Math.max(...ones.map((one) => one.frames));
  const taken = [];
  const margin = PICTURE_PX / 2 + 4;
  // What stands for most frames gets its picture first; of others, those that have room.
  const order = [...ones].sort((a, b) => b.frames - a.frames || b.usage - a.usage || a.start - b.start);
  const shown = new Set();
  for (const one of order) {
    const [x, y] = place(one, tallest, width, height, margin);
    if (one.thumbnail && taken.every(([left, top]) => Math.abs(left - x) > PICTURE_PX || Math.abs(top - y) > PICTURE_PX * 0.7)) {
      taken.push([x, y]);
      shown.add(one);
    }
  }
  keep(plane, ones, "map", (one) => elementButton(one, "long-term", 0));
  for (const button of plane.children) {
    const { one } = button;
    const [x, y] = place(one, tallest, width, height, margin);
    button.dataset.key = keyOf(one, "map");
    Object.assign(button.style, { left: `${x}px`, top: `${y}px` });
    button.classList.toggle("ts-dot", !shown.has(one));
    button.style.setProperty("--time", last > first ? ((one.start - first) / (last - first)).toFixed(3) : 0);
    button.style.setProperty("--size", `${10 + 12 * Math.sqrt(one.frames / most)}px`);
  }
  rove(plane, "map");
  part("from").textContent = clock(first);
  part("to").textContent = clock(last);
}

function place(one, tallest, width, height, margin) {
  return [
    margin + ((one.x + 1) / 2) * Math.max(0, width - 2 * margin),
    margin + ((1 - one.y / Math.max(tallest, 0.35)) / 2) * Math.max(0, height - 2 * margin),
  ];
}

// How large the stores were: a small plot for each, over one time

function drawGrowth() {
  const { growth } = told;
  const seen = growth.frames.at(-1) ?? 0;
  part("seen").textContent = growth.whole ? `While ${seen.toLocaleString("en")} frames came by; dashed: there is no more room` : `Told as far as ${clock(growth.seconds.at(-1) ?? 0)}, the rest follows`;
  part("lines").replaceChildren(...growth.lines.map(lineOf));
}

function lineOf(line) {
  const made = make("div", `ts-line ts-${line.store}`);
  const now = line.sizes.at(-1) ?? 0;
  const title = told.boxes.find((box) => box.store === line.store).title;
  const name = make("span", "ts-line-name", title.replace(" memory", ""));
  const [width, height] = [300, 44];
  const top = Math.max(1, ...line.sizes) * 1.12;
  const seconds = told.growth.seconds;
  const x = (at) => (width * at) / Math.max(1e-9, seconds.at(-1) ?? 1);
  const y = (size) => height - (height * size) / top;
  const plot = document.createElementNS(SVG, "svg");
  plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
  plot.setAttribute("preserveAspectRatio", "none");
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", `${title}: ${now} ${line.what} now, ${Math.max(0, ...line.sizes)} at most`);
  const points = line.sizes.map((size, index) => `${x(seconds[index]).toFixed(1)} ${y(size).toFixed(1)}`);
  const way = points.length ? `M0 ${height}L${points.join("L")}` : "";
  const bound = line.bound && line.bound <= top ? `<path class="ts-bound" d="M0 ${y(line.bound)}H${width}"/>` : "";
  plot.innerHTML = `<path class="ts-area" d="${way}${way && `L${width} ${height}Z`}"/>${bound}<path class="ts-way" d="${way}"/>`;
  const number = make("span", "ts-line-now");
  number.append(make("b", "", now.toLocaleString("en")), ` ${line.what}`);
  made.append(name, plot, number);
  return made;
}

// Bytes by tier

function drawTiers() {
  const most = Math.max(1, ...told.tiers.map((tier) => tier.bytes));
  part("bars").replaceChildren(
    ...told.tiers.map((tier) => {
      const made = make("div", "ts-tier");
      const bar = make("div", "ts-bar");
      const parts = make("span", "ts-parts", tier.parts.map((one) => `${one.name} ${one.total}`).join(" · ") || "nothing");
      tier.parts.forEach((one, index) => {
        const piece = make("i");
        piece.style.width = `${(100 * one.bytes) / most}%`;
        piece.style.setProperty("--piece", index);
        bar.append(piece);
      });
      made.append(make("b", "", tier.name), bar, make("span", "ts-total", tier.total), parts);
      return made;
    }),
  );
}

// The card with a picture beside what is pointed at

function showCard(button) {
  const { one, store } = button;
  const image = one.thumbnail ? [imageOf(told.thumbnails + one.thumbnail)] : [];
  card.replaceChildren(...image, make("b", "", span(one)), ...facts(one, store).map((fact) => make("span", "", fact)), make("span", "ts-hint", "Click to see it in the video"));
  card.hidden = false;
  const [home, own] = [root, button].map((box) => box.getBoundingClientRect());
  const middle = own.left + own.width / 2 - home.left;
  card.style.left = `${Math.max(0, Math.min(middle - card.offsetWidth / 2, home.width - card.offsetWidth))}px`;
  const above = own.top - home.top - card.offsetHeight - 6;
  card.style.top = `${own.top - card.offsetHeight > 8 ? above : own.bottom - home.top + 6}px`;
}

for (const name of ["pointerover", "focusin"]) {
  root.addEventListener(name, (event) => {
    const button = event.target.closest(".ts-one");
    if (button) showCard(button);
    else card.hidden = true;
  });
}
for (const name of ["pointerleave", "focusout"]) root.addEventListener(name, () => (card.hidden = true));

// Keys: one stop of Tab for each group, arrows within

root.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return void (card.hidden = true);
  const button = event.target.closest(".ts-one");
  if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...button.parentElement.querySelectorAll(".ts-one")];
  if (button.closest(".ts-plane")) buttons.sort((a, b) => a.one.start - b.one.start);
  const at = buttons.indexOf(button);
  const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  focusOn(buttons[Math.max(0, Math.min(next, buttons.length - 1))]);
});

function focusOn(button) {
  const group = button.parentElement;
  for (const one of group.querySelectorAll("button")) one.tabIndex = one === button ? 0 : -1;
  button.focus({ preventScroll: group.classList.contains("ts-plane") });
}

root.addEventListener("focusin", (event) => {
  const button = event.target.closest(".ts-one");
  if (button) cursors[button.closest(".ts-plane") ? "map" : button.store] = button.dataset.key;
});

// What the page tells

function read() {
  const before = told;
  told = props.value || null;
  part("all").hidden = !told;
  root.querySelector(":scope > .ts-none").hidden = Boolean(told);
  if (!told) return;
  if (before && before.video !== told.video) part("flow").replaceChildren();
  part("name").textContent = `${told.name}, watched until ${clock(told.until)}. Policy ${told.policy.name}: ${told.policy.summary}`;
  part("archive").textContent = told.archive;
  draw();
}

function draw() {
  if (!told || !root.offsetParent) return; // another screen is shown
  drawFlow();
  drawMap();
  drawGrowth();
  drawTiers();
}

new ResizeObserver(() => told && root.offsetParent && (part("flow").children.length ? drawMap() : draw())).observe(part("plane"));
new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && draw()).observe(root);
watch("value", read);
read();

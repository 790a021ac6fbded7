// Draws what vidmem/ui/timeline.py tells. The body of a function that Gradio calls with `element`, `props` and `watch`.
// `props.value` is a video's timeline or null, `props.evidence` an answer's, `props.player` finds the player.

const BUTTON_PX = 24; // as wide as a button must be to be hit
const PICTURE_PX = 62; // at most, as the style sheet has it
const LABEL_PX = 44;
const TICK_PX = 84;
const SHORTEST_SECONDS = 4; // that can be shown, at the closest zoom
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
const MARKS = { evidence: "★", scene: "▤", object: "◆", gap: "▨" };

const part = (name) => element.querySelector(`.tl-${name}`);
const root = element.querySelector(".tl");
const view = part("view");
const card = part("card");
const shown = { start: 0, seconds: 0 }; // the stretch that is in view
const drawn = new Map(); // the buttons, by what they stand for
const cursors = []; // of each lane: the start of the segment that Tab goes to
let lanes = [];
let duration = 0;
let awaited = false;

const player = () => document.querySelector(props.player);
const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
const secondsPerPixel = () => shown.seconds / Math.max(1, view.clientWidth);
const left = (seconds) => (seconds - shown.start) / secondsPerPixel();
const timeAt = (clientX) => shown.start + (clientX - view.getBoundingClientRect().left) * secondsPerPixel();

function clock(seconds, precise = false) {
  const whole = Math.floor(seconds + 1e-6);
  const two = (number) => String(number).padStart(2, "0");
  const long = props.value?.hours || duration >= 3600;
  const minutes = long ? `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}` : two(Math.floor(whole / 60));
  const text = `${minutes}:${two(whole % 60)}`;
  return precise ? `${text}.${Math.floor((seconds - whole) * 10 + 1e-6)}` : text;
}

function span(start, end) {
  const same = clock(start) === clock(end);
  return `${clock(start, same)}–${clock(end, same)}`;
}

// What is drawn of a lane at this zoom: groups, each of one segment or more.

function groupsOf(lane) {
  const needed = BUTTON_PX * secondsPerPixel();
  const level = lane.levels.findLast((one) => one.seconds >= needed) ?? lane.levels[0];
  level.groups ??= grouped(lane, level.first ?? [...lane.segments.keys()]);
  return level.groups;
}

function grouped(lane, first) {
  return first.map((from, index) => {
    const own = lane.segments.slice(from, first[index + 1]);
    const next = lane.segments[first[index + 1]]?.start ?? Infinity;
    const end = own.reduce((latest, one) => Math.max(latest, one.end), 0);
    const middle = own[own.length >> 1];
    const label = own.length === 1 ? own[0].label : `${own.length} ${lane.many}`;
    const note = own.length === 1 ? own[0].note : "Zoom in to tell them apart";
    return { from, many: own.length > 1, start: own[0].start, end, until: Math.min(end, next), label, note, picture: middle.thumbnail };
  });
}

function pictureUrl(lane, group) {
  if (!group.picture) return null;
  const path = (lane.thumbnails + group.picture).split("/").map(encodeURIComponent).join("/");
  return `${window.gradio_config?.root ?? ""}/gradio_api/file=${path}`;
}

// Drawing

function draw() {
  root.hidden = !duration;
  if (!duration) return;
  shown.seconds = clamp(shown.seconds || duration, Math.min(SHORTEST_SECONDS, duration), duration);
  shown.start = clamp(shown.start, 0, duration - shown.seconds);
  part("shown").textContent = span(shown.start, shown.start + shown.seconds);
  root.querySelector("[data-zoom=out]").disabled = root.querySelector("[data-zoom=all]").disabled = shown.seconds >= duration;
  root.querySelector("[data-zoom=in]").disabled = shown.seconds <= Math.min(SHORTEST_SECONDS, duration);
  const slider = part("window").firstElementChild;
  slider.style.left = `${(100 * shown.start) / duration}%`;
  slider.style.width = `${(100 * shown.seconds) / duration}%`;
  part("window").hidden = shown.seconds >= duration;
  drawRuler();
  drawLanes();
  drawPlayhead();
}

function drawSoon() {
  if (awaited) return;
  awaited = true;
  requestAnimationFrame(() => {
    awaited = false;
    draw();
  });
}

function drawRuler() {
  const step = STEPS.find((one) => one >= TICK_PX * secondsPerPixel()) ?? STEPS.at(-1);
  const ticks = [];
  for (let at = Math.ceil(shown.start / step) * step; at <= shown.start + shown.seconds; at += step) {
    const tick = document.createElement("span");
    tick.style.left = `${left(at)}px`;
    tick.textContent = left(at) < view.clientWidth - 44 ? clock(at) : "";
    ticks.push(tick);
  }
  part("ruler").replaceChildren(...ticks);
}

function drawLanes() {
  const focused = document.activeElement?.closest?.(".tl-segment");
  const lost = focused && root.contains(focused) ? { lane: focused.lane, start: focused.group.start } : null;
  const stay = new Set();
  lanes.forEach((lane, index) => drawLane(lane, index, stay));
  for (const [key, button] of drawn) {
    if (stay.has(key)) continue;
    button.remove();
    drawn.delete(key);
  }
  if (lost && !root.contains(focused)) focusAt(lost.lane, lost.start, false);
}

function drawLane(lane, index, stay) {
  const groups = groupsOf(lane);
  const row = part("lanes").children[index];
  const visible = groups.filter((group) => group.until > shown.start && group.start < shown.start + shown.seconds);
  const reached = visible.findLast((group) => group.start <= (cursors[index] ?? 0)) ?? visible[0];
  for (const group of visible) {
    const key = `${index} ${group.from} ${group.label}`;
    stay.add(key);
    if (!drawn.has(key)) {
      drawn.set(key, segmentButton(lane, index, group));
      const after = [...row.children].find((one) => one.group.start > group.start);
      row.insertBefore(drawn.get(key), after ?? null);
    }
    place(drawn.get(key), group, group === reached);
  }
}

function segmentButton(lane, index, group) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `tl-segment tl-${lane.kind}`;
  button.classList.toggle("tl-many", group.many);
  button.lane = index;
  button.group = group;
  button.dataset.start = group.start;
  const label = document.createElement("span");
  label.textContent = lane.kind === "evidence" && !group.many ? group.label.split(" ").at(-1) : group.label;
  label.dataset.mark = MARKS[lane.kind];
  button.append(label);
  const named = lane.kind === "object" && group.many ? `${lane.name}, ${group.label}` : group.label;
  const note = group.note ? `. ${group.note}` : "";
  button.setAttribute("aria-label", `${named}, ${span(group.start, group.end)}${note}`);
  return button;
}

function place(button, group, isReached) {
  const from = left(group.start);
  const width = Math.max(left(group.until) - from, 12);
  button.style.left = `${from}px`;
  button.style.width = `${width}px`;
  button.tabIndex = isReached ? 0 : -1;
  // What stands in the button stays in view, however far it reaches beyond.
  button.style.paddingLeft = `${Math.max(0, Math.min(-from, width - LABEL_PX))}px`;
  const lane = lanes[button.lane];
  const picture = lane.kind === "scene" && width >= BUTTON_PX - 1 ? pictureUrl(lane, group) : null;
  button.classList.toggle("tl-narrow", width < LABEL_PX + (picture ? PICTURE_PX : 0));
  if (picture && !button.querySelector("img")) {
    const image = new Image();
    image.alt = "";
    image.src = picture;
    button.prepend(image);
  } else if (!picture) button.querySelector("img")?.remove();
}

function drawPlayhead() {
  const at = left(player()?.currentTime ?? 0);
  const head = part("playhead");
  head.hidden = at < 0 || at > view.clientWidth;
  head.style.transform = `translateX(${at}px)`;
  const now = player()?.currentTime ?? 0;
  for (const button of drawn.values()) {
    button.classList.toggle("tl-now", button.group.start <= now && now < button.group.end);
  }
  drawBands();
}

// A band across all lanes for each stretch of evidence, so that it is seen what lay there.
function drawBands() {
  const cited = [...drawn.values()].filter((button) => lanes[button.lane].kind === "evidence");
  part("bands").replaceChildren(
    ...cited.map((button) => {
      const band = document.createElement("span");
      band.style.left = button.style.left;
      band.style.width = button.style.width;
      return band;
    }),
  );
}

// Moving: the player, the view, the focus

function seek(seconds) {
  const video = player();
  if (!video) return;
  video.currentTime = clamp(seconds, 0, Number.isFinite(video.duration) ? video.duration : seconds);
  drawPlayhead();
}

function zoom(factor, around = null) {
  const middle = shown.start + shown.seconds / 2;
  const now = player()?.currentTime ?? middle;
  const inView = now >= shown.start && now <= shown.start + shown.seconds;
  const anchor = around ?? (inView ? now : middle);
  const share = (anchor - shown.start) / shown.seconds;
  shown.seconds = clamp(shown.seconds * factor, Math.min(SHORTEST_SECONDS, duration), duration);
  shown.start = anchor - share * shown.seconds;
  hideCard();
  draw();
}

function pan(seconds) {
  shown.start += seconds;
  hideCard();
  drawSoon();
}

function reveal(group) {
  const end = shown.start + shown.seconds;
  if (group.until > shown.start && group.start < end && (group.start >= shown.start || group.until <= end)) return;
  shown.start = group.start - shown.seconds / 10;
}

function focusAt(laneIndex, seconds, withCard = true) {
  const groups = groupsOf(lanes[laneIndex]);
  focusGroup(laneIndex, groups.findLast((group) => group.start <= seconds + 1e-6) ?? groups[0], withCard);
}

function focusGroup(laneIndex, group, withCard = true) {
  if (!group) return;
  cursors[laneIndex] = group.start;
  reveal(group);
  draw();
  const button = [...drawn.values()].find((one) => one.lane === laneIndex && one.group === group);
  button?.focus({ preventScroll: true });
  if (button && withCard) showCard(button);
}

function stepFrom(button, key) {
  const { lane, group } = button;
  const groups = groupsOf(lanes[lane]);
  const at = groups.findIndex((one) => one.start === group.start);
  if (key === "ArrowRight") focusGroup(lane, groups[at + 1]);
  if (key === "ArrowLeft") focusGroup(lane, groups[at - 1]);
  if (key === "Home") focusGroup(lane, groups[0]);
  if (key === "End") focusGroup(lane, groups.at(-1));
  if (key === "ArrowDown" && lanes[lane + 1]) focusAt(lane + 1, Math.max(group.start, shown.start));
  if (key === "ArrowUp" && lanes[lane - 1]) focusAt(lane - 1, Math.max(group.start, shown.start));
}

// The card with a picture beside what is pointed at

function showCard(button) {
  const lane = lanes[button.lane];
  const { group } = button;
  const line = (name, text) => Object.assign(document.createElement("span"), { className: name, textContent: text });
  const url = pictureUrl(lane, group);
  const image = url ? [Object.assign(new Image(), { src: url, alt: "" })] : [];
  const title = `${MARKS[lane.kind]} ${lane.kind === "object" && group.many ? `${lane.name}, ` : ""}${group.label}`;
  const note = group.note ? [line("tl-note", group.note)] : [];
  card.replaceChildren(...image, line("tl-title", title), line("tl-time", span(group.start, group.end)), ...note);
  card.hidden = false;
  // Above all lanes, so that it hides none of them.
  const [box, own, inView] = [root, button, view].map((one) => one.getBoundingClientRect());
  const middle = (Math.max(own.left, inView.left) + Math.min(own.right, inView.right)) / 2 - box.left;
  card.style.left = `${clamp(middle - card.offsetWidth / 2, 0, box.width - card.offsetWidth)}px`;
  card.style.bottom = `${box.bottom - inView.top + 6}px`;
}

function hideCard() {
  card.hidden = true;
}

// What a person does

const fingers = new Map();
let dragged = false;

view.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  fingers.set(event.pointerId, event.clientX);
  dragged = false;
});

view.addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  const before = fingers.get(event.pointerId);
  const moved = event.clientX - before;
  if (fingers.size === 1 && !dragged && Math.abs(moved) < 5) return;
  if (!dragged) view.setPointerCapture(event.pointerId);
  dragged = true;
  fingers.set(event.pointerId, event.clientX);
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  if (other === undefined) pan(-moved * secondsPerPixel());
  else zoom(Math.max(1, Math.abs(before - other)) / Math.max(1, Math.abs(event.clientX - other)), timeAt(other));
});

for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, (event) => fingers.delete(event.pointerId));
}

view.addEventListener("click", (event) => {
  if (dragged && event.detail) return; // that was the end of a drag; a key's click has no detail
  const button = event.target.closest(".tl-segment");
  if (button) cursors[button.lane] = button.group.start;
  seek(button ? button.group.start : timeAt(event.clientX));
});

view.addEventListener(
  "wheel",
  (event) => {
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    const delta = (event.deltaMode ? 30 : 1) * (sideways ? event.deltaX || event.deltaY : event.deltaY);
    const [all, closest] = [shown.seconds >= duration, shown.seconds <= Math.min(SHORTEST_SECONDS, duration)];
    // Where there is nothing more to zoom or pan, the page scrolls as ever; a pinch never zooms the page.
    if (!event.ctrlKey && (sideways ? all : (all && delta > 0) || (closest && delta < 0))) return;
    event.preventDefault();
    if (sideways) pan(delta * secondsPerPixel());
    else zoom(Math.exp(clamp(delta, -120, 120) * (event.ctrlKey ? 0.01 : 0.002)), timeAt(event.clientX));
  },
  { passive: false },
);

root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const button = event.target.closest(".tl-segment");
  const { key } = event;
  if (key === "Escape") hideCard();
  else if (key === "+" || key === "=") zoom(0.5, button?.group.start);
  else if (key === "-" || key === "_") zoom(2, button?.group.start);
  else if (key === "0") zoom(Infinity);
  else if (button && /^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(key)) stepFrom(button, key);
  else return;
  event.preventDefault();
  event.stopPropagation();
});

// Anything on the page may send the player to a time.
document.addEventListener("click", (event) => {
  const there = event.target.closest("[data-seek]");
  if (there) seek(Number(there.dataset.seek));
});

part("zoom").addEventListener("click", (event) => {
  const way = event.target.dataset.zoom;
  if (way) zoom({ in: 0.5, out: 2, all: Infinity }[way]);
});

for (const name of ["pointerover", "focusin"]) {
  view.addEventListener(name, (event) => {
    const button = event.target.closest(".tl-segment");
    if (button && !fingers.size) showCard(button);
    else hideCard();
  });
}
view.addEventListener("pointerleave", hideCard);
view.addEventListener("focusout", hideCard);

// What the player and the page tell

function follow(event) {
  if (event.target !== player()) return;
  const now = event.target.currentTime;
  const end = shown.start + shown.seconds;
  // What plays out of the view takes it along; who looks elsewhere is left there.
  if (event.type === "timeupdate" && now >= end && now < end + 2 * event.target.playbackRate && !fingers.size) {
    shown.start = now - shown.seconds / 20;
    draw();
  } else drawPlayhead();
}

function read() {
  const told = props.value || null;
  const known = told?.duration || player()?.duration;
  const before = duration;
  duration = Number.isFinite(known) ? known : 0;
  const evidence = props.evidence || null;
  lanes = [evidence, told].flatMap((one) => one?.lanes.map((lane) => ({ ...lane, thumbnails: one.thumbnails })) ?? []);
  if (duration !== before) Object.assign(shown, { start: 0, seconds: duration });
  cursors.length = 0;
  drawn.clear();
  part("lanes").replaceChildren(...lanes.map(row));
  part("names").replaceChildren(...lanes.map(nameOf));
  const cited = evidence?.lanes[0]?.segments ?? [];
  const inView = (one) => one.end > shown.start && one.start < shown.start + shown.seconds;
  if (cited.length && !cited.some(inView)) Object.assign(shown, { start: 0, seconds: duration });
  draw();
}

function row(lane) {
  const made = document.createElement("div");
  made.className = `tl-lane tl-lane-${lane.kind}`;
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", lane.name);
  return made;
}

function nameOf(lane) {
  const made = document.createElement("div");
  made.className = `tl-lane tl-lane-${lane.kind}`;
  made.dataset.mark = MARKS[lane.kind];
  made.textContent = made.title = lane.name;
  return made;
}

// Media events do not bubble, and the player's element comes and goes: so they are caught on their way down.
for (const name of ["timeupdate", "seeking", "seeked"]) document.addEventListener(name, follow, true);
for (const name of ["loadedmetadata", "durationchange", "emptied"]) {
  document.addEventListener(name, (event) => event.target === player() && read(), true);
}
new ResizeObserver(drawSoon).observe(view);
watch(["value", "evidence"], read);
read();

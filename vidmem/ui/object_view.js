// Draws what vidmem/ui/object_view.py tells, and the objects' boxes over two players: `data-player`, on which a
// person points at something, and `data-other`. The body of a function that Gradio calls with `element`, `props` ...

const HOLD_SECONDS = 0.6; // a box stands at most so long after the frame that it was seen on
const LEAST_PX = 6; // what is drawn smaller is a click
const NUDGE = 0.02;
const NAME_PX = 22; // as high as a name over a box
const COLOURS = ["#0ea5e9", "#f59e0b", "#22c55e", "#ec4899", "#a78bfa", "#ef4444", "#14b8a6", "#eab308"];

const part = (name) => element.querySelector(`.ov-${name}`);
const root = element.querySelector(".ov");
const overlays = new Map(); // of each player's stage
let told = null;
let pointed = null; // { video, at, box: [x, y, width, height] | null, point: [x, y] | null } in fractions of the frame

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
const colour = (one) => COLOURS[one.id % COLOURS.length];
const ownPlayer = () => document.querySelector(root.dataset.player);

// The box of a track at a time; null where it is not seen

function boxAt(track, seconds) {
  let [low, high] = [0, track.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (track[middle][0] <= seconds + 1e-3) low = middle + 1;
    else high = middle;
  }
  const before = track[low - 1];
  const after = track[low];
  if (!before || before.length < 5) return null;
  if (!after || after.length < 5) return seconds - before[0] <= HOLD_SECONDS ? before.slice(1) : null;
  const share = (seconds - before[0]) / (after[0] - before[0]);
  return before.slice(1).map((side, index) => side + share * (after[index + 1] - side));
}

// Where the picture lies in the player, which may leave bars beside it

function pictureOf(video) {
  const [width, height] = [video.clientWidth, video.clientHeight];
  const scale = Math.min(width / (video.videoWidth || 16), height / (video.videoHeight || 9));
  const [w, h] = [(video.videoWidth || 16) * scale, (video.videoHeight || 9) * scale];
  return { left: video.offsetLeft + (width - w) / 2, top: video.offsetTop + (height - h) / 2, width: w, height: h };
}

function lay(box, made, picture) {
  const [left, top, right, bottom] = box;
  Object.assign(made.style, {
    left: `${picture.left + left * picture.width}px`,
    top: `${picture.top + top * picture.height}px`,
    width: `${(right - left) * picture.width}px`,
    height: `${(bottom - top) * picture.height}px`,
  });
}

// What is drawn over a player. Its styles are set here: it lies outside of this component.

function overlayOf(video) {
  const stage = video.parentElement;
  if (overlays.has(stage)) return overlays.get(stage);
  const layer = make("div", "ov-layer");
  layer.setAttribute("aria-hidden", "true");
  Object.assign(layer.style, { position: "absolute", inset: 0, overflow: "hidden", pointerEvents: "none", zIndex: 3 });
  stage.append(layer);
  overlays.set(stage, layer);
  new ResizeObserver(() => drawOver(video)).observe(video);
  if (video.requestVideoFrameCallback) {
    const shown = (_, frame) => {
      drawOver(video, frame.mediaTime);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  }
  for (const name of ["seeking", "seeked", "timeupdate", "loadedmetadata"]) video.addEventListener(name, () => drawOver(video));
  return layer;
}

function chip(one) {
  const made = make("div", "ov-box");
  Object.assign(made.style, { position: "absolute", boxSizing: "border-box", border: `3px solid ${colour(one)}`, borderRadius: "4px", boxShadow: "0 0 0 1px rgb(0 0 0 / 0.55)" });
  const name = make("span", "", one.name);
  Object.assign(name.style, { position: "absolute", left: "-3px", bottom: "100%", maxWidth: "180px", padding: "0 6px", borderRadius: "4px 4px 0 0", background: colour(one), color: "#0b0f19", font: "600 12px/1.5 system-ui, sans-serif", whiteSpace: "nowrap", overflow: "hidden", textOverflow: "ellipsis" });
  made.append(name);
  made.dataset.id = one.id;
  return made;
}

function drawOver(video, seconds = video.currentTime) {
  const layer = overlayOf(video);
  const wanted = part("show").querySelector("input").checked && told ? told.objects : [];
  const picture = pictureOf(video);
  const there = new Map([...layer.querySelectorAll(".ov-box")].map((made) => [made.dataset.id, made]));
  for (const one of wanted) {
    const box = boxAt(one.track, seconds);
    const made = there.get(String(one.id));
    if (!box) continue;
    there.delete(String(one.id));
    const shown = made?.textContent === one.name ? made : chip(one);
    if (shown !== made) made?.remove();
    if (!shown.parentElement) layer.append(shown);
    lay(box, shown, picture);
    // Above the box, or within it where the frame ends there.
    const isCut = picture.top + box[1] * picture.height < NAME_PX;
    Object.assign(shown.firstChild.style, isCut ? { top: 0, bottom: "auto" } : { top: "auto", bottom: "100%" });
  }
  for (const made of there.values()) made.remove();
  for (const button of root.querySelectorAll(".ov-spans button[data-at]")) {
    button.classList.toggle("ov-now", video === ownPlayer() && Number(button.dataset.at) <= seconds && seconds < Number(button.dataset.end));
  }
}

const drawAll = () => [root.dataset.player, root.dataset.other].map((name) => document.querySelector(name)).forEach((video) => video && drawOver(video));

// Pointing

function begin() {
  const video = ownPlayer();
  if (!video?.videoWidth) return;
  video.pause();
  video.controls = false; // they would lie over the bottom of the frame
  pointed = { video, at: video.currentTime, box: null, point: null };
  part("ask").hidden = false;
  part("label").querySelector("input").value = "";
  const layer = overlayOf(video);
  const pad = make("div", "ov-pad");
  pad.tabIndex = 0;
  pad.setAttribute("role", "application");
  pad.setAttribute("aria-label", "The frame: drag a box over the object, or click on it. With keys: arrows move the box, with Shift they change its size, Enter goes on, Escape leaves.");
  Object.assign(pad.style, { position: "absolute", inset: 0, zIndex: 4, cursor: "crosshair", touchAction: "none", background: "rgb(0 0 0 / 0.18)", outlineOffset: "-3px" });
  const mark = make("div", "ov-mark");
  Object.assign(mark.style, { position: "absolute", boxSizing: "border-box", border: "3px dashed #fff", boxShadow: "0 0 0 1px #000, inset 0 0 0 1px #000", display: "none", pointerEvents: "none" });
  pad.append(mark);
  layer.after(pad);
  connect(pad);
  pointed.pad = pad;
  pad.focus({ preventScroll: true });
  say();
}

function leave() {
  if (pointed) pointed.video.controls = true;
  pointed?.pad.remove();
  pointed = null;
  part("ask").hidden = true;
}

function say() {
  const isMarked = Boolean(pointed.box || pointed.point);
  part("follow").disabled = !isMarked;
  const what = pointed.box ? "The box is drawn." : pointed.point ? "The point is set." : "Drag a box over the object, or click on it.";
  part("how").textContent = isMarked ? `${what} Draw again to change it.` : what;
  const mark = pointed.pad.querySelector(".ov-mark");
  mark.style.display = isMarked ? "block" : "none";
  const picture = pictureOf(pointed.video);
  mark.style.borderRadius = pointed.point ? "50%" : "0";
  if (pointed.box) {
    const [x, y, width, height] = pointed.box;
    lay([x, y, x + width, y + height], mark, picture);
  } else if (pointed.point) {
    const [x, y] = pointed.point;
    Object.assign(mark.style, { left: `${picture.left + x * picture.width - 11}px`, top: `${picture.top + y * picture.height - 11}px`, width: "22px", height: "22px" });
  }
}

function connect(pad) {
  let from = null;
  const at = (event) => {
    const home = pad.getBoundingClientRect();
    const picture = pictureOf(pointed.video);
    return [
      clamp((event.clientX - home.left - picture.left) / picture.width, 0, 1),
      clamp((event.clientY - home.top - picture.top) / picture.height, 0, 1),
    ];
  };
  const drawn = (event) => {
    const [a, b] = [from, at(event)];
    const picture = pictureOf(pointed.video);
    const [width, height] = [Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
    const isClick = width * picture.width < LEAST_PX && height * picture.height < LEAST_PX;
    pointed.point = isClick ? a : null;
    pointed.box = isClick ? null : [Math.min(a[0], b[0]), Math.min(a[1], b[1]), width, height];
    say();
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    from = at(event);
    pad.setPointerCapture(event.pointerId);
    drawn(event);
  });
  pad.addEventListener("pointermove", (event) => from && drawn(event));
  for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => (from = null));
  pad.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") leave();
    else if (event.key === "Enter" && (pointed.box || pointed.point)) part("label").querySelector("input").focus();
    else if (way) nudge(way, event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

function nudge([across, down], isSize) {
  let [x, y, width, height] = pointed.box ?? [0.4, 0.4, 0.2, 0.2];
  if (isSize) [width, height] = [clamp(width + across * NUDGE, NUDGE, 1 - x), clamp(height + down * NUDGE, NUDGE, 1 - y)];
  else if (pointed.box) [x, y] = [clamp(x + across * NUDGE, 0, 1 - width), clamp(y + down * NUDGE, 0, 1 - height)];
  pointed.point = null;
  pointed.box = [x, y, width, height];
  say();
}

part("point").addEventListener("click", () => (pointed ? leave() : begin()));
part("leave").addEventListener("click", leave);
part("find").addEventListener("click", () => trigger("select", { do: "find" }));
part("show").addEventListener("change", drawAll);
part("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!pointed?.box && !pointed?.point) return;
  const { at, box, point } = pointed;
  trigger("select", { do: "follow", at, box, point, label: part("label").querySelector("input").value });
  leave();
});

// The list

root.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (button) return void trigger("select", { do: button.dataset.do, id: Number(button.dataset.id) });
  const there = event.target.closest("button[data-at]");
  const video = ownPlayer();
  if (there && video) {
    leave();
    video.currentTime = Number(there.dataset.at) + 0.01;
  }
});

function listed(one) {
  const made = make("li", "ov-one");
  made.style.setProperty("--own", colour(one));
  const title = make("h4", "", one.name);
  title.append(make("small", "", [one.how, one.until].filter(Boolean).join(", ")));
  const drop = make("button", "ov-drop", "Forget");
  Object.assign(drop, { type: "button" });
  Object.assign(drop.dataset, { do: "forget", id: one.id });
  drop.setAttribute("aria-label", `Forget ${one.name}`);
  const spans = make("div", "ov-spans");
  spans.append(...one.spans.map((span) => spanButton(one, span)));
  if (one.more) spans.append(make("span", "", `and ${one.more} more`));
  if (!one.spans.length) spans.append(make("span", "", "not seen yet"));
  made.append(one.thumbnail ? imageOf(told.thumbnails + one.thumbnail) : make("span", "ov-blank"), title, drop, spans);
  return made;
}

function spanButton(one, span) {
  const made = make("button", "", span.text);
  made.type = "button";
  Object.assign(made.dataset, { at: span.at, end: span.end });
  made.setAttribute("aria-label", `Show ${one.name} at ${span.text}`);
  return made;
}

function work(job) {
  const made = make("div", `ov-job ov-${job.phase}`);
  made.setAttribute("role", job.phase === "failed" ? "alert" : "status");
  const says = make("div");
  says.append(make("b", "", job.title), make("span", "", job.message));
  const button = make("button", "", job.over ? "Dismiss" : "Cancel");
  button.type = "button";
  Object.assign(button.dataset, { do: job.over ? "dismiss" : "cancel", id: job.id });
  made.append(says, button);
  if (!job.over) {
    const bar = make("progress");
    bar.max = 1;
    if (job.fraction !== null) bar.value = job.fraction;
    bar.setAttribute("aria-label", "How far it is");
    made.append(bar);
  }
  return made;
}

// Drawn anew only if it is other than it was: a focus within stays where it is.
function fill(list, made, what) {
  const now = JSON.stringify(what);
  if (list.dataset.drawn === now) return;
  list.dataset.drawn = now;
  const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  list.replaceChildren(...made());
  if (focused) [...list.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === focused)?.focus();
}

function read() {
  const before = told;
  told = props.value || null;
  root.hidden = !told;
  if (pointed && before?.video !== told?.video) leave();
  if (!told) return drawAll();
  fill(part("jobs"), () => told.jobs.map(work), told.jobs);
  fill(part("list"), () => told.objects.map(listed), [told.thumbnails, told.objects.map(({ track, ...rest }) => rest)]);
  part("none").hidden = told.objects.length > 0 || told.jobs.some((job) => !job.over);
  drawAll();
}

// Shown again, the own player is where the other one was left.
new IntersectionObserver((seen) => {
  const other = document.querySelector(root.dataset.other);
  const own = ownPlayer();
  if (!seen.some((one) => one.isIntersecting) || !own || pointed) return;
  if (other?.dataset.src && other.dataset.src === own.dataset.src && other.currentTime !== element.lastTime) {
    own.currentTime = element.lastTime = other.currentTime;
  }
}).observe(root);
watch("value", read);
read();

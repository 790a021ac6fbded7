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
  there = null;
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

// Anything on the page may send the player to a time: of a video that is not open, once it is.
let there = null;
let isLoaded = false; // whether a video is in the player, since then if another was open
const isOpen = (one) => !one.dataset.video || video.endsWith(` ${one.dataset.video}`);

function arrive() {
  if (!there || !isLoaded || !isOpen(there)) return;
  seek(Number(there.dataset.seek));
  there = null;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-seek]");
  if (!button) return;
  there = button;
  isLoaded = isOpen(button) && player()?.readyState > 0;
  arrive();
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

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
  const lost = focusedSegment();
  const stay = new Set();
  lanes.forEach((lane, index) => drawLane(lane, index, stay));
  for (const [key, button] of drawn) {
    if (stay.has(key)) continue;
    button.remove();
    drawn.delete(key);
  }
  if (lost && !focusedSegment()) focusAt(lost.lane, lost.start, false);
}

function focusedSegment() {
  const focused = document.activeElement?.closest?.(".tl-segment");
  return focused && root.contains(focused) ? { lane: focused.lane, start: focused.group.start } : null;
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

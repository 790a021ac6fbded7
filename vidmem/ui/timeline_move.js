// Moving: the player, the view, the focus

let beyond = null; // where the player is to go once it has loaded what reaches so far: { video, seconds }

function seek(seconds) {
  const shows = player();
  if (!shows) return;
  beyond = seconds <= shows.duration ? null : { video, seconds }; // while it loads nobody knows how far it reaches
  if (seconds > shows.duration) trigger("select", {});
  shows.currentTime = clamp(seconds, 0, Number.isFinite(shows.duration) ? shows.duration : seconds);
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

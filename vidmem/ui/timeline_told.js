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

function load(what) {
  isLoaded ||= what === "loadedmetadata";
  read();
  if (what === "loadedmetadata" && beyond?.video === video) seek(beyond.seconds);
}

function read() {
  const told = props.value || null;
  // What is still being watched is known in part; its player knows how long it is.
  const known = [told?.duration, player()?.duration].filter(Number.isFinite);
  const [before, focused] = [duration, focusedSegment()];
  const [held, many] = [focused && lanes[focused.lane].name, lanes.length];
  duration = Math.max(0, ...known);
  const evidence = props.evidence || null;
  lanes = [evidence, told].flatMap((one) => one?.lanes.map((lane) => ({ ...lane, thumbnails: one.thumbnails })) ?? []);
  const isAnother = (told?.key ?? "") !== video;
  video = told?.key ?? "";
  // A video that grows leaves who looks closer where they are.
  if (isAnother || shown.seconds >= before || !before) Object.assign(shown, { start: 0, seconds: duration });
  if (isAnother || lanes.length !== many) cursors.length = 0;
  drawn.clear();
  part("lanes").replaceChildren(...lanes.map(row));
  part("names").replaceChildren(...lanes.map(nameOf));
  const cited = evidence?.lanes[0]?.segments ?? [];
  const inView = (one) => one.end > shown.start && one.start < shown.start + shown.seconds;
  if (cited.length && !cited.some(inView)) Object.assign(shown, { start: 0, seconds: duration });
  draw();
  const again = focused ? lanes.findIndex((lane) => lane.name === held) : -1;
  if (again >= 0) focusAt(again, focused.start, false);
  arrive();
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
  document.addEventListener(name, (event) => event.target === player() && load(name), true);
}
new ResizeObserver(drawSoon).observe(view);
watch(["value", "evidence"], read);
read();

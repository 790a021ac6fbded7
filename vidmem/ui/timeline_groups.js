// Draws what vidmem/ui/timeline.py tells. The body of a function that Gradio calls with `element`, `props` and `watch`.
// `props.value` is a video's timeline or null, `props.evidence` an answer's. What finds the player stands in the template:
// Gradio forgets other properties of what is updated before it is shown.

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
let video = ""; // which one is shown: its key
let awaited = false;

const player = () => document.querySelector(root.dataset.player);
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
  return group.picture ? addressOf(lane.thumbnails + group.picture) : null;
}

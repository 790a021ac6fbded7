// Shows what vidmem/ui/player.py tells. The body of a function that Gradio calls with `element`, `props` and `watch`.

const stage = element.querySelector(".pl");
const video = element.querySelector("video");
const none = element.querySelector(".pl-none");

function read() {
  const told = props.value || {};
  stage.hidden = !told.src;
  none.hidden = Boolean(told.src);
  none.textContent = told.message || "";
  if ((told.src || "") === (video.dataset.src || "")) return;
  const isCopy = Boolean(told.video) && told.video === video.dataset.video;
  const [at, plays] = isCopy ? [video.currentTime, !video.paused] : [0, false];
  video.dataset.video = told.video || "";
  video.dataset.src = told.src || "";
  if (told.src) video.src = told.src;
  else video.removeAttribute("src");
  video.load();
  if (at) video.currentTime = at; // from where it begins once it is there
  if (plays) video.play().catch(() => {});
}

watch("value", read);
read();

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
  video.dataset.src = told.src || "";
  if (told.src) video.src = told.src;
  else video.removeAttribute("src");
  video.load();
}

watch("value", read);
read();

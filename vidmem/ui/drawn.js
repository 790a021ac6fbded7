// What all parts of the page that draw themselves begin with.

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const addressOf = (path) => `${window.gradio_config?.root ?? ""}/gradio_api/file=${path.split("/").map(encodeURIComponent).join("/")}`;

// A picture that says nothing which does not stand beside it. It is fetched once it comes near the view.
function imageOf(path) {
  const image = make("img");
  Object.assign(image, { alt: "", loading: "lazy", decoding: "async", src: addressOf(path) });
  return image;
}


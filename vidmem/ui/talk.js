
// What was said, as a list of elements' HTML. Only what is other than before is made anew: what somebody has unfolded, or
// is reading, stays as it is, and pictures are not fetched again.
const said = element.querySelector(".vm-talk");
let shown = [];

function read() {
  const told = props.value || [];
  let same = 0;
  while (same < shown.length && shown[same] === told[same]) same += 1;
  while (said.children.length > same) said.lastElementChild.remove();
  for (const one of told.slice(same)) said.insertAdjacentHTML("beforeend", one);
  shown = told;
}

watch("value", read);
read();

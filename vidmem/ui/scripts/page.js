// What holds for the whole page: clicks that seek from any screen, and the keys.
(() => {
  const player = () => document.querySelector("#player video");
  const question = () => document.querySelector("#question textarea, #question input");

  // The tabs' own buttons: those that have no room are in a menu, where they can be clicked all the same.
  function show(title) {
    const tabs = [...document.querySelectorAll('#screens button[role="tab"], #screens .overflow-dropdown button')];
    const tab = tabs.find((one) => one.textContent.trim() === title);
    if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-seek]")) show("Watch & ask");
  });

  // A conversation is read at its end.
  new MutationObserver((changes) => {
    const talk = document.querySelector(".vm-talk");
    if (talk && changes.some((one) => one.target.closest?.("#talk"))) talk.scrollTop = talk.scrollHeight;
  }).observe(document.documentElement, { childList: true, subtree: true });

  const isTyped = (element) => element?.closest?.("input, textarea, select, [contenteditable=true]");
  const isPressed = (element) => element?.closest?.("button, a, [role=tab], [role=slider], summary, video");

  function seekBy(seconds) {
    const video = player();
    video.currentTime = Math.min(Math.max(video.currentTime + seconds, 0), video.duration || 0);
  }

  // How it looks: light, dark, or as the system; remembered in this browser.
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function look(wanted) {
    localStorage.setItem("vidmem.look", wanted);
    document.body.classList.toggle("dark", wanted === "dark" || (wanted === "system" && dark.matches));
  }

  // A tab that is loaded again is the same visit, on the same screen. While it is open its name lies nowhere, so that a
  // copy of the tab is a visit of its own.
  const kept = (key) => {
    const value = sessionStorage.getItem(key);
    sessionStorage.removeItem(key);
    return value;
  };
  const drawName = () => [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
  const name = kept("vidmem.visit") ?? drawName();
  const screen = kept("vidmem.screen");
  function visit() {
    if (screen) show(screen);
    return name;
  }
  window.addEventListener("pagehide", () => {
    sessionStorage.setItem("vidmem.visit", name);
    const shown = document.querySelector('#screens [role="tab"][aria-selected="true"]');
    if (shown) sessionStorage.setItem("vidmem.screen", shown.textContent.trim());
  });
  window.addEventListener("pageshow", () => ["vidmem.visit", "vidmem.screen"].forEach(kept));
  // Of the first screen Gradio tells late, when another one may be shown: so what is shown is looked up, once it is drawn.
  async function isShown(screen) {
    await new Promise((drawn) => setTimeout(drawn, 50));
    return document.querySelector(`#screen-${screen}-button[aria-selected="true"]`) !== null;
  }
  window.vidmem = { look, visit, isShown, show };
  window.addEventListener("load", () => {
    const wanted = localStorage.getItem("vidmem.look");
    if (wanted) look(wanted);
  });

  const keys = {
    // Paused before it began to play, it refuses to play, which is no failure.
    " ": () => (player().paused ? player().play().catch(() => {}) : player().pause()),
    ArrowLeft: () => seekBy(-5),
    ArrowRight: () => seekBy(5),
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyped(event.target)) return;
    if (event.key === "/") {
      event.preventDefault();
      show("Watch & ask");
      setTimeout(() => question()?.focus(), 50);
    } else if (event.key in keys && player()?.offsetParent && !isPressed(event.target)) {
      event.preventDefault();
      keys[event.key]();
    }
  });
})();

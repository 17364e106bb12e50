// Shows a hint where this browser cannot play the video's preview. Gradio would report an error, although the app reads the clip.
const hint = element.querySelector("p");
const follow = (name, act) => {
  const heard = (event) => event.target instanceof HTMLVideoElement && event.target.closest("#video") && act(event);
  document.addEventListener(name, heard, { capture: true }); // media events do not bubble
};
follow("loadstart", () => { hint.hidden = true; });
follow("error", (event) => {
  event.stopImmediatePropagation();
  hint.hidden = false;
});

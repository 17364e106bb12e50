// A still stands in where this browser cannot play the clip, or where it is a picture. Gradio would report an error, although the app reads it.
const [hint, still] = [element.querySelector("p"), element.querySelector("canvas")];
const follow = (name, act) => {
  const heard = (event) => event.target instanceof HTMLVideoElement && event.target.closest("#video") && act(event);
  document.addEventListener(name, heard, { capture: true }); // media events do not bubble
};
let unplayed = null; // the name of the frames that were shown when it failed

function draw() {
  const { shown, run } = window.aimPage ?? {};
  if (unplayed === null || !run || shown.picture === unplayed) return;
  run.picture.loaded.then((pictures) => {
    Object.assign(still, { width: pictures.width, height: pictures.height });
    still.getContext("2d").drawImage(pictures.image, 0, 0, pictures.width, pictures.height, 0, 0, pictures.width, pictures.height);
    still.hidden = false;
  });
}
// A picture needs no run to be shown, because every browser draws it by itself.
function drawPicture(url) {
  const [picture, before] = [new Image(), unplayed];
  picture.addEventListener("load", () => {
    if (unplayed !== before || !still.hidden) return; // another clip, or the run was faster
    Object.assign(still, { width: picture.naturalWidth, height: picture.naturalHeight });
    still.getContext("2d").drawImage(picture, 0, 0);
    still.hidden = false;
  });
  picture.src = url;
}
follow("loadstart", () => {
  hint.hidden = still.hidden = true;
  unplayed = null;
});
follow("error", (event) => {
  event.stopImmediatePropagation();
  hint.hidden = /\.(jpe?g|png|webp|bmp)$/i.test(decodeURIComponent(event.target.src));
  unplayed = window.aimPage?.shown?.picture ?? "";
  if (hint.hidden) drawPicture(event.target.src);
});
const listen = () => window.aimPage.follow(draw);
if (window.aimPage) listen();
else (window.aimBus ??= new EventTarget()).addEventListener("ready", listen, { once: true });

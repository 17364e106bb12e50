// Share: a window with the link to the run that is shown, a picture of it and an animation of its layers.

function startShare(page, element, trigger, props, watch) {
  const open = make("button", { type: "button", class: "aim-x-button aim-share-open", "aria-haspopup": "dialog" }, "Share");
  const close = make("button", { type: "button", class: "aim-x-button", "aria-label": "Close" }, "✕");
  const link = make("input", { type: "text", readonly: true, "aria-label": "Link to this run", class: "aim-share-link" });
  const copy = make("button", { type: "button", class: "aim-x-button" }, "Copy link");
  const said = make("p", { class: "aim-share-said", role: "status" });
  const picture = make("img", { class: "aim-share-picture", hidden: true, alt: "The question, the answers and the tokens of this run" });
  const files = make("div", { class: "aim-share-files" });
  const dialog = make(
    "dialog",
    { class: "aim-share-window", "aria-label": "Share this run" },
    make("div", { class: "aim-share-head" }, make("b", {}, "Share this run"), close),
    make("div", { class: "aim-share-line" }, link, copy),
    said,
    picture,
    files,
  );
  element.replaceChildren(make("div", { class: "aim-x aim-sharing" }, open, dialog));
  let made = null; // the run that the window shows
  let waiting = false;

  function draw(value) {
    said.textContent = value?.error ?? "";
    link.value = value?.link ?? "";
    copy.disabled = !value?.link;
    picture.hidden = !value?.picture;
    if (value?.picture) picture.src = value.picture;
    files.replaceChildren(...(value?.picture ? [saved("Save picture (PNG)", value.picture, "aim-share.png"), saved("Save animation (WebP)", value.animation, "aim-share.webp"), ...sent(value)] : []));
  }

  const saved = (text, url, name) => make("a", { class: "aim-x-button", href: url, download: name }, text);

  // Phones hand a picture on to other apps.
  function sent({ picture: url, link: address }) {
    const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
    const shared = { files: [new File([bytes], "aim-share.png", { type: "image/png" })], text: address };
    if (!navigator.canShare?.(shared)) return [];
    return [make("button", { type: "button", class: "aim-x-button", onclick: () => navigator.share(shared).catch(() => {}) }, "Send…")];
  }

  // What is shown at first was stored and is no run of this visitor. Where a run is cheap, one is made for it.
  function ask() {
    if (page.shown?.stored && page.pace === "drag") {
      waiting = true;
      return page.ask();
    }
    waiting = false;
    made = page.shown;
    trigger("select", { index: 0, value: null });
  }

  open.addEventListener("click", () => {
    dialog.showModal();
    if (made && made === page.shown) return;
    draw(null);
    // A refused run leaves nothing of this visitor's to share. The window says why.
    const refused = page.shown?.stored && document.querySelector("#status .aim-error");
    if (refused) return void (said.textContent = refused.textContent);
    said.textContent = "Drawing the picture and the animation…";
    ask();
  });
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  copy.addEventListener("click", async () => {
    link.select();
    try {
      await navigator.clipboard.writeText(link.value);
    } catch {
      document.execCommand("copy"); // a page that is not served over HTTPS has no clipboard
    }
    said.textContent = "The link is copied.";
  });
  page.follow(() => waiting && !page.shown.stored && ask());
  watch("value", () => props.value && draw(props.value));
}

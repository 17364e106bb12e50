// What the visitor has set, as the browser knows it: whether it is what the screen shows, and the address that brings it back.
// facts: {names, always, usual, examples, model, pace, pace_told}; a list of values has the order of facts.names, and begins with video and question.

function makeSettings(facts) {
  const place = Object.fromEntries(facts.names.map((name, index) => [name, index]));
  const pathOf = (video) => (video && typeof video === "object" ? (video.video ?? video).path ?? "" : video ?? "");
  const tail = (path, parts) => path.split(/[\\/]/).slice(-parts).join("/");

  function plain(values) {
    return values.map((value, index) => (index === 0 ? pathOf(value) : index === 1 ? (value ?? "").trim() : value));
  }

  function sameVideo(one, other) {
    const parts = one.includes("/") && other.includes("/") ? 2 : 1; // a stored result names its clip only
    return tail(one, parts) === tail(other, parts);
  }

  function same(one, other) {
    const [first, second] = [plain(one), plain(other)];
    return sameVideo(first[0], second[0]) && first.slice(1).every((value, index) => value === second[index + 1]);
  }

  // l1 < l2, and a restart on the question needs damping: what one knob does to another may arrive after the event that it started.
  function consistent(values, moved) {
    const [l1, l2, damping, restart] = ["l1", "l2", "damping", "restart"].map((name) => place[name]);
    const settled = [...values];
    if (settled[l1] >= settled[l2]) {
      if (moved === "l2") settled[l1] = settled[l2] - 1;
      else settled[l2] = settled[l1] + 1;
    }
    if (settled[restart] === "question" && !settled[damping]) settled[moved === "damping" ? restart : damping] = moved === "damping" ? "uniform" : 0.15;
    return settled;
  }

  function query(values) {
    const [video, question] = plain(values);
    const entries = [["model", facts.model]];
    if (facts.examples.includes(tail(video, 1))) entries.push(["example", tail(video, 1)]);
    if (question) entries.push(["question", question]);
    const own = new Set(["model", "example", ...facts.names]);
    const others = [...new URLSearchParams(location.search)].filter(([name]) => !own.has(name));
    facts.names.slice(2).forEach((name, index) => {
      const value = values[index + 2];
      if (facts.always.includes(name) || value !== facts.usual[name]) entries.push([name, String(value)]);
    });
    return `?${new URLSearchParams([...others, ...entries])}`;
  }

  // An upload is in no address. The tab remembers where the server keeps it, so that it is still there after a reload.
  function keepUpload(values) {
    const path = plain(values)[0];
    if (!path || facts.examples.includes(tail(path, 1))) return;
    try {
      sessionStorage.setItem("aim-upload", path);
    } catch {
      // Without storage, a reload asks for the clip again.
    }
  }

  return { plain, same, consistent, query, keepUpload };
}


/* The review: one screen at a time. Answers are kept in the browser's storage under the page's
   digest and the reviewer's name, and leave the page as a file that the person saves. */
{
  const root = document.querySelector("#review");
  const screens = [...root.querySelectorAll(".screen")];
  const clips = screens.filter((screen) => screen.dataset.key);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const VERDICTS = { a: "accept", r: "reject", e: "edit" };
  const store = `review/${root.dataset.page}`;
  let reviewer = "";
  let answers = Object.create(null); /* key → answer; a key may be any name */
  let at = 0;
  let since = 0; /* when this screen came up, ms */

  /* Storage: what lies there may be of an older page or of anybody */
  const read = (place) => {
    try {
      return JSON.parse(localStorage.getItem(place));
    } catch {
      return null;
    }
  };
  const write = (place, value) => {
    try {
      localStorage.setItem(place, JSON.stringify(value));
    } catch {
      root.querySelector("#unkept").hidden = false;
    }
  };
  const isAnswer = (one) =>
    one && Object.values(VERDICTS).includes(one.verdict) && typeof one.wording === "string" &&
    typeof one.seconds === "number" && typeof one.time === "string";
  const restore = () => {
    const kept = (reviewer && read(`${store}/${reviewer}`)) || {};
    answers = Object.create(null);
    for (const clip of clips) {
      const one = kept[clip.dataset.key];
      if (isAnswer(one)) answers[clip.dataset.key] = one;
    }
  };
  const asText = () =>
    clips
      .filter((clip) => answers[clip.dataset.key])
      .map((clip) => {
        const { verdict, wording, seconds, time } = answers[clip.dataset.key];
        const { page } = root.dataset;
        const { key } = clip.dataset;
        return JSON.stringify({ page, key, verdict, wording, reviewer, seconds, time }) + "\n";
      })
      .join("");

  /* What the screens say of the answers */
  const refresh = () => {
    const done = Object.keys(answers).length;
    root.querySelector("#answered").value = done;
    root.querySelector("#count").textContent = `${done} of ${clips.length} judged`;
    root.querySelector("#who").hidden = !reviewer;
    root.querySelector("#who span").textContent = reviewer;
    root.querySelector("#text").value = asText();
    const left = clips.length - done;
    const missing = root.querySelector("#missing");
    missing.hidden = !left;
    missing.querySelector("span").textContent =
      left === 1 ? "One clip is not judged." : `${left} clips are not judged.`;
    for (const clip of clips) {
      const one = answers[clip.dataset.key];
      for (const button of clip.querySelectorAll("[data-verdict]")) {
        button.setAttribute("aria-pressed", Boolean(one) && one.verdict === button.dataset.verdict);
      }
      const edited = clip.querySelector(".edited");
      edited.hidden = !one || one.verdict !== "edit";
      edited.textContent = edited.hidden ? "" : one.wording;
    }
  };

  /* Screens; a browser holds only so many videos at a time, so one has its source */
  const open = (screen) => {
    const video = screen.querySelector("video");
    if (!video) return;
    video.src = video.dataset.src;
    if (!calm) video.play().catch(() => {});
  };
  const close = (screen) => {
    const video = screen.querySelector("video");
    if (!video) return;
    video.removeAttribute("src");
    video.load();
    leave(screen);
  };
  const show = (index) => {
    close(screens[at]);
    screens[at].hidden = true;
    at = index;
    screens[at].hidden = false;
    since = performance.now();
    root.querySelector(".steps").hidden = screens[at].id === "start";
    open(screens[at]);
    const focus = screens[at].querySelector(screens[at].id === "start" ? "input" : "h1");
    focus.focus({ preventScroll: true });
    scrollTo(0, 0);
  };
  const step = (by) => {
    const index = at + by;
    if (reviewer && index >= 1 && index < screens.length) show(index);
  };
  const firstOpen = () => clips.find((clip) => !answers[clip.dataset.key]);
  const begin = () => {
    restore();
    refresh();
    show(screens.indexOf(firstOpen() || root.querySelector("#end")));
  };

  /* Verdicts */
  const judge = (verdict, wording) => {
    const { key } = screens[at].dataset;
    const seconds = Math.round((performance.now() - since) / 100) / 10;
    answers[key] = { verdict, wording, seconds, time: new Date().toISOString() };
    root.querySelector("#saved").textContent = "";
    write(`${store}/${reviewer}`, answers);
    refresh();
    step(1);
  };
  const edit = (screen) => {
    const one = answers[screen.dataset.key];
    const input = screen.querySelector(".edit input");
    input.value = one && one.verdict === "edit" ? one.wording : screen.dataset.wording;
    screen.querySelector(".edit").hidden = false;
    input.focus();
    input.select();
  };
  const leave = (screen) => {
    screen.querySelector(".edit").hidden = true;
  };
  const decide = (verdict) => {
    const screen = screens[at];
    if (verdict === "edit") edit(screen);
    else judge(verdict, screen.dataset.wording);
  };
  const save = () => {
    const link = document.createElement("a");
    const name = reviewer.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "reviewer";
    link.href = URL.createObjectURL(new Blob([asText()], { type: "application/x-ndjson" }));
    link.download = `review-${name}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    root.querySelector("#saved").textContent = `The file is called ${link.download}.`;
  };

  for (const clip of clips) {
    const video = clip.querySelector("video");
    video.addEventListener("error", () => {
      if (video.hasAttribute("src")) video.closest("figure").classList.add("failed");
    });
    for (const button of clip.querySelectorAll("[data-verdict]")) {
      button.addEventListener("click", () => decide(button.dataset.verdict));
    }
    clip.querySelector("[data-leave]").addEventListener("click", () => leave(clip));
    clip.querySelector(".edit").addEventListener("submit", (event) => {
      event.preventDefault();
      const wording = clip.querySelector(".edit input").value.trim();
      if (!wording) return;
      judge(wording === clip.dataset.wording ? "accept" : "edit", wording);
    });
  }
  root.querySelector("#start").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = root.querySelector("#name").value.trim();
    if (!name) return;
    reviewer = name;
    write(store, reviewer);
    begin();
  });
  root.querySelector("#other").addEventListener("click", () => {
    reviewer = "";
    restore();
    refresh();
    show(0);
  });
  root.querySelector("#missing button").addEventListener("click", () => {
    show(screens.indexOf(firstOpen()));
  });
  for (const button of root.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  for (const button of root.querySelectorAll("[data-save]")) button.addEventListener("click", save);

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const screen = screens[at];
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (key === "Escape" && target.closest(".edit")) {
      leave(screen);
      screen.querySelector("h1").focus({ preventScroll: true });
    } else if (target.matches("input, textarea") || screen.id === "start") {
      return;
    } else if (["ArrowRight", "ArrowDown", "j"].includes(key)) {
      step(1);
    } else if (["ArrowLeft", "ArrowUp", "k"].includes(key)) {
      step(-1);
    } else if (!screen.dataset.key) {
      return;
    } else if (key === " ") {
      if (target.matches("button, video")) return; /* it presses that */
      const video = screen.querySelector("video");
      if (video.paused) video.play().catch(() => {});
      else video.pause();
    } else if (VERDICTS[key.toLowerCase()] && !event.repeat) {
      decide(VERDICTS[key.toLowerCase()]);
    } else {
      return;
    }
    event.preventDefault();
  });

  const known = read(store);
  if (typeof known === "string" && known) {
    reviewer = known;
    begin();
  } else {
    restore();
    refresh();
    show(0);
  }
}

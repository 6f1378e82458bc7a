
/* The study: one screen at a time. The radio buttons are the only record of the answers; they are
   kept in the browser's storage, and leave the page as a file that the person saves. */
{
  const root = document.querySelector("#study");
  const screens = [...root.querySelectorAll(".screen")];
  const questions = screens.filter((screen) => screen.dataset.token);
  const place = `study/${root.dataset.study}/${root.dataset.participant}`;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let at = 0;

  const rows = (screen) => [...screen.querySelectorAll(".aspect")];
  const choices = (row) => [...row.querySelectorAll("input")];
  const chosen = (row) => choices(row).find((input) => input.checked);
  const whole = (question) => rows(question).every(chosen);

  /* Answers: out of the radio buttons, into storage and back */
  const answers = () => {
    const all = {};
    for (const question of questions) {
      const own = {};
      for (const row of rows(question)) {
        if (chosen(row)) own[row.dataset.aspect] = chosen(row).value;
      }
      if (Object.keys(own).length) all[question.dataset.token] = own;
    }
    return all;
  };
  const keep = () => {
    try {
      localStorage.setItem(place, JSON.stringify(answers()));
    } catch {
      root.querySelector("#unkept").hidden = false;
    }
  };
  const restore = () => {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(place)) || {};
    } catch { /* nothing is kept, or nothing that can be read */ }
    for (const question of questions) {
      for (const row of rows(question)) {
        const value = (kept[question.dataset.token] || {})[row.dataset.aspect];
        for (const input of choices(row)) input.checked = input.value === value;
      }
    }
  };
  const asText = () => {
    const { study, participant } = root.dataset;
    return JSON.stringify({ format: 1, study, participant, answers: answers() }, null, 1) + "\n";
  };

  /* Videos of a question start together, go in step, and wait for the longest before they repeat */
  const videos = (screen) => [...screen.querySelectorAll("video")];
  const moving = (screen) => videos(screen).some((video) => !video.paused && !video.ended);
  const playable = (screen) => videos(screen).filter((video) => !video.error);
  const label = (screen) => {
    const button = screen.querySelector("[data-play]");
    if (button) button.textContent = moving(screen) ? "Pause" : "Play";
  };
  const start = (screen) => {
    for (const video of playable(screen)) {
      video.currentTime = 0;
      video.play().catch(() => {});
    }
  };
  const toggle = (screen) => {
    if (moving(screen)) for (const video of videos(screen)) video.pause();
    else if (playable(screen).every((video) => video.ended)) start(screen);
    else for (const video of playable(screen)) if (!video.ended) video.play().catch(() => {});
    label(screen);
  };
  const inStep = (screen) => {
    const [lead, ...others] = playable(screen).sort((a, b) => b.duration - a.duration);
    for (const video of others) {
      if (video.ended || lead.currentTime > video.duration) continue;
      if (Math.abs(video.currentTime - lead.currentTime) > 0.1) video.currentTime = lead.currentTime;
    }
  };
  const open = (screen) => {
    for (const video of videos(screen)) video.src = video.dataset.src;
  };
  const close = (screen) => {
    for (const video of videos(screen)) {
      video.removeAttribute("src"); /* a browser holds only so many videos at a time */
      video.load();
    }
  };
  for (const screen of questions) {
    let begun = false;
    const ready = () => {
      if (begun || !playable(screen).every((video) => video.readyState >= 2)) return;
      begun = true;
      if (calm) label(screen);
      else start(screen);
    };
    for (const video of videos(screen)) {
      video.addEventListener("loadstart", () => { begun = false; });
      video.addEventListener("loadeddata", ready);
      video.addEventListener("error", () => {
        if (!video.hasAttribute("src")) return;
        video.closest("figure").classList.add("failed");
        ready();
      });
      video.addEventListener("timeupdate", () => inStep(screen));
      video.addEventListener("ended", () => {
        if (playable(screen).every((other) => other.ended)) start(screen);
      });
      for (const what of ["play", "pause", "ended"]) {
        video.addEventListener(what, () => label(screen));
      }
      video.addEventListener("click", () => toggle(screen));
    }
  }

  /* Screens */
  const mark = (screen, marked) => {
    for (const row of rows(screen)) {
      if (row === marked) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  };
  const refresh = () => {
    const done = questions.filter(whole).length;
    root.querySelector("#answered").value = done;
    root.querySelector("#count").textContent = `${done} of ${questions.length} answered`;
    const missing = root.querySelector("#missing");
    const left = questions.length - done;
    missing.hidden = !left;
    missing.querySelector("span").textContent =
      left === 1 ? "One set is not answered in full." : `${left} sets are not answered in full.`;
    root.querySelector("#text").value = asText();
    for (const question of questions) {
      const next = question.querySelector("[data-step='1']");
      next.textContent = whole(question) ? "Next" : "Skip";
      next.classList.toggle("main", whole(question));
    }
  };
  const show = (index) => {
    close(screens[at]);
    screens[at].hidden = true;
    at = index;
    const screen = screens[at];
    screen.hidden = false;
    open(screen);
    mark(screen, rows(screen).find((row) => !chosen(row)) || rows(screen)[0]);
    screen.querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  };
  const step = (by) => {
    const index = at + by;
    if (index >= 0 && index < screens.length) show(index);
  };
  const answered = (row) => {
    const screen = screens[at];
    const after = rows(screen);
    const next = after.slice(after.indexOf(row) + 1).find((other) => !chosen(other));
    mark(screen, next || row);
    root.querySelector("#saved").textContent = "";
    keep();
    refresh();
  };
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([asText()], { type: "application/json" }));
    link.download = `answers-${root.dataset.participant}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    root.querySelector("#saved").textContent = `The file is called ${link.download}.`;
  };

  /* Mouse and keys */
  for (const button of root.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  for (const button of root.querySelectorAll("[data-play]")) {
    button.addEventListener("click", () => toggle(screens[at]));
  }
  root.querySelector("#save").addEventListener("click", save);
  root.querySelector("#missing button").addEventListener("click", () => {
    show(screens.indexOf(questions.find((question) => !whole(question))));
  });
  root.addEventListener("change", (event) => {
    const row = event.target.closest(".aspect");
    if (row) answered(row);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("textarea")) return;
    const screen = screens[at];
    const lines = rows(screen);
    const marked = lines.findIndex((row) => row.hasAttribute("aria-current"));
    const { key, target } = event;
    if (key === "ArrowLeft" || key === "ArrowRight") {
      step(key === "ArrowLeft" ? -1 : 1);
    } else if (!lines.length) {
      return;
    } else if (key === "ArrowUp" || key === "ArrowDown") {
      const to = marked + (key === "ArrowUp" ? -1 : 1);
      if (lines[to]) mark(screen, lines[to]);
    } else if (key === " ") {
      if (target.matches("button, summary, input:not(:checked)")) return; /* it presses that */
      toggle(screen);
    } else if (/^[0-9]$/.test(key)) {
      const all = choices(lines[marked]);
      const input = key === "0" ? all[all.length - 1] : all.slice(0, -1)[Number(key) - 1];
      if (!input) return;
      input.checked = true;
      answered(lines[marked]);
    } else {
      return;
    }
    event.preventDefault();
  });

  restore();
  keep();
  refresh();
  const first = questions.find((question) => !whole(question));
  const begun = Object.keys(answers()).length > 0;
  show(!begun ? 0 : screens.indexOf(first || root.querySelector("#end")));
}

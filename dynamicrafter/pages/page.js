"use strict";

/* Videos of one group play in step: whoever is started, stopped or moved takes the others along. */
for (const group of document.querySelectorAll("[data-together]")) {
  const videos = [...group.querySelectorAll("video")];
  const share = (video) => (video.duration ? video.currentTime / video.duration : 0);
  const apart = (a, b) => {
    const distance = Math.abs(share(a) - share(b));
    return Math.min(distance, 1 - distance) * a.duration; /* a loop has no end */
  };
  const follow = (leader) => {
    for (const video of videos) {
      if (video !== leader && video.duration && apart(leader, video) > 0.06) {
        video.currentTime = share(leader) * video.duration;
      }
    }
  };
  for (const video of videos) {
    video.addEventListener("play", () => {
      follow(video);
      for (const other of videos) if (other.paused) other.play().catch(() => {});
    });
    video.addEventListener("pause", () => {
      if (!video.ended) for (const other of videos) other.pause();
    });
    video.addEventListener("seeked", () => follow(video));
  }
  if (videos.length > 1) videos[0].addEventListener("timeupdate", () => follow(videos[0]));
}

/* Videos play while they are in view, unless the reader asked for less motion. */
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const first = target.querySelector("video");
      if (isIntersecting) first.play().catch(() => {});
      else first.pause();
    }
  }, { threshold: 0.4 });
  for (const group of document.querySelectorAll("[data-together]")) watch.observe(group);
}

/* A click on a column's heading sorts by it; absent values stay at the bottom. */
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headings = [...table.tHead.rows[0].cells];
  const value = (row, column) => JSON.parse(row.cells[column].dataset.value);
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * compare(x, y);
      });
      table.tBodies[0].append(...rows);
    });
  });
}

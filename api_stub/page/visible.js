// Whether the page can be seen. A hidden page rests: it keeps no connection and no timer.
//
// A browser opens six connections to a host (HTTP/1.1), and an event stream takes one of them. So any number of tabs work,
// but of pages that are visible at the same time, each in a window of its own, only six do.

/** Calls `start` each time that the page comes into view, and `stop` each time that it is hidden or left. */
export function whileVisible(start, stop = () => {}) {
  let started = false;
  const follow = (visible) => {
    if (visible === started) return;
    started = visible;
    (visible ? start : stop)();
  };
  const look = () => follow(!document.hidden);
  document.addEventListener("visibilitychange", look);
  // The browser may keep a page that is left, and show it again as it was.
  addEventListener("pagehide", () => follow(false));
  addEventListener("pageshow", look);
  look();
}

/** Calls `work` every so many milliseconds while the page is visible. */
export function repeatWhileVisible(work, pauseMs) {
  let timer;
  whileVisible(
    () => (timer = setInterval(work, pauseMs)),
    () => clearInterval(timer),
  );
}

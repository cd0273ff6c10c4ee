// Asks a busy server again, after as long as it said.

const TRIES = 10;

/** What ``attempt`` gives. Where the server says when to come back, ``wait(problem)`` is awaited before the next. */
export async function patiently(attempt, wait) {
  for (let left = TRIES; ; left--) {
    try {
      return await attempt();
    } catch (problem) {
      if (left === 0 || !problem.retryAfter) throw problem;
      await wait(problem);
    }
  }
}

/** Counts down on a button, which ends it when pressed. */
export function countdown(seconds, button, signal, words = "Try again now") {
  return new Promise((resolve, reject) => {
    const ends = performance.now() + 1000 * seconds;
    const stop = (settle) => () => {
      clearInterval(timer);
      button.onclick = null;
      settle(signal.reason);
    };
    const show = () => {
      const left = Math.ceil((ends - performance.now()) / 1000);
      button.textContent = `${words} (${left} s)`;
      if (left <= 0) stop(resolve)();
    };
    const timer = setInterval(show, 200);
    button.onclick = stop(resolve);
    signal.addEventListener("abort", stop(reject), { once: true });
    show();
  });
}

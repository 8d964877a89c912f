// Plays the record of a journey: step by step, or in slow motion. It never touches the live view: what comes meanwhile is
// added when the page is patched, and the record stays where it was.
import { onKey } from "./keys.js";

const PAUSE = 900;
let place = -1;
let timer = 0;

const root = () => document.querySelector(".journey");
const rows = () => [...document.querySelectorAll(".journey .step")].sort((a, b) => when(a) - when(b) || number(a) - number(b));
const number = (row) => Number(row.dataset.step);
const when = (row) => Number(row.dataset.at);

function control(name) {
    return root()?.querySelector(`[data-play="${name}"]`);
}

/** Shows the record up to this step; all of it for -1. */
function show(next, { scroll = true } = {}) {
    const all = rows();
    place = Math.min(next, all.length - 1);
    const isPlaying = place >= 0;
    root()?.classList.toggle("playing", isPlaying);
    all.forEach((row, index) => {
        row.classList.toggle("to-come", isPlaying && index > place);
        row.classList.toggle("current", index === place);
    });
    const current = all[place];
    const caption = root()?.querySelector(".caption");
    if (caption) caption.textContent = current ? `${place + 1} of ${all.length}: ${current.querySelector(".sentence").textContent}` : "";
    const showAll = control("all");
    if (showAll) showAll.hidden = !isPlaying;
    if (current && scroll) current.scrollIntoView({ block: "nearest" });
}

function stop() {
    clearInterval(timer);
    timer = 0;
    const button = control("slow");
    if (button) button.textContent = "Slow motion";
}

function play() {
    if (timer) return stop();
    if (place >= rows().length - 1) show(-1);
    control("slow").textContent = "Stop";
    show(place + 1);
    timer = setInterval(() => {
        if (place >= rows().length - 1) stop();
        else show(place + 1);
    }, PAUSE);
}

const actions = {
    next: () => (stop(), show(place + 1)),
    back: () => (stop(), show(Math.max(place - 1, 0))),
    slow: play,
    all: () => (stop(), show(-1)),
};

document.addEventListener("click", (event) => actions[event.target.closest?.("[data-play]")?.dataset.play]?.());
if (root()) {
    onKey("n", () => actions.next());
    onKey("p", () => actions.back());
    onKey("s", () => actions.slow());
}

function begin() {
    const player = root()?.querySelector(".player");
    if (player) player.hidden = false;
    if (timer) control("slow").textContent = "Stop";
    if (place >= 0) show(place, { scroll: false });
}
document.addEventListener("patched", (event) => event.target.matches(".journey") && begin());
begin();

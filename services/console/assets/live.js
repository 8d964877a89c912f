// Keeps a page true: one stream of events tells what has changed, and the page fetches the parts anew that depend on it.
//
// <body data-stream="/events?…">   the stream of this page
// <… data-fragment="/mail/rows?…" data-on="changed mail">   fetched anew when one of these events comes
// <… data-key="…">   within a fragment: what has the same key and the same markup stays as it is, focus included
//
// The stream is closed while the page is hidden, and goes on where it was (Last-Event-ID).

const listeners = new Map();
const waiting = new Map();
let source = null;
let lastId = "";
let retry = 0;

/** Calls `listener` with the data of each event of this name, an object. */
export function onEvent(name, listener) {
    const known = listeners.has(name);
    listeners.set(name, [...(listeners.get(name) ?? []), listener]);
    if (!known && source) attach(name);
}

function attach(name) {
    source.addEventListener(name, (event) => {
        lastId = event.lastEventId || lastId;
        for (const listener of listeners.get(name)) listener(data(event));
    });
}

/** Reads a text aloud where a screen reader is used. */
export function announce(text) {
    const announcer = document.getElementById("announcer");
    if (announcer) announcer.textContent = text;
}

/** Fetches a fragment anew. While it is fetched, one more call is remembered, and not more. */
export async function refresh(element) {
    if (waiting.has(element)) {
        waiting.set(element, true);
        return;
    }
    waiting.set(element, false);
    try {
        const answer = await fetch(element.dataset.fragment, { headers: { Accept: "text/html" } });
        if (answer.ok) patch(element, await answer.text());
    } catch {
        // The stream tells that the console is away.
    }
    const again = waiting.get(element);
    waiting.delete(element);
    if (again) await refresh(element);
}

/** Fetches all fragments anew that depend on an event. */
export function refreshAll(name) {
    const dependent = document.querySelectorAll(`[data-fragment][data-on~="${name}"]`);
    return Promise.all([...dependent].map(refresh));
}

/** Gives an element this content. What has a key and has not changed stays. */
export function patch(element, html) {
    const parsed = new DOMParser().parseFromString(html, "text/html");
    const focus = element.contains(document.activeElement) ? placeOf(document.activeElement, element) : null;
    const fresh = parsed.body;
    for (const list of fresh.querySelectorAll("[data-keyed]")) {
        const old = element.querySelector(`[data-keyed="${CSS.escape(list.dataset.keyed)}"]`);
        if (old) keepUnchanged(old, list);
    }
    element.replaceChildren(...fresh.childNodes);
    if (focus && !element.contains(document.activeElement)) inPlace(focus, element)?.focus({ preventScroll: true });
    element.dispatchEvent(new CustomEvent("patched", { bubbles: true }));
}

const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]";

/** Which control of its row this is, or of the whole part where it is in no row. */
function placeOf(control, part) {
    const row = control.closest("[data-key]");
    const within = row && part.contains(row) ? row : part;
    return { key: within === row ? row.dataset.key : null, at: within === control ? -1 : [...within.querySelectorAll(CONTROLS)].indexOf(control), name: control.textContent };
}

/** The control in the same place, unless it has become another one: whoever presses a key must not do what they do not see. */
function inPlace({ key, at, name }, part) {
    const row = key === null ? part : part.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!row || at < 0) return row;
    const controls = [...row.querySelectorAll(CONTROLS)];
    const same = controls[at]?.textContent === name ? controls[at] : controls.find((one) => one.textContent === name);
    return same ?? controls[0];
}

function keepUnchanged(old, list) {
    const known = new Map([...old.children].map((child) => [child.dataset.key, child]));
    for (const child of [...list.children]) {
        const before = known.get(child.dataset.key);
        if (!before) child.classList.add("arrived");
        else if (before.dataset.version === child.dataset.version) child.replaceWith(before);
    }
}

function data(event) {
    try {
        return JSON.parse(event.data);
    } catch {
        return {};
    }
}

function say(state, text) {
    const shown = document.getElementById("link-state");
    if (!shown) return;
    shown.dataset.state = state;
    shown.querySelector("span").textContent = text;
    shown.title = text;
}

function open() {
    const url = document.body.dataset.stream;
    if (!url || source) return;
    const from = new URL(url, location.href);
    if (lastId) from.searchParams.set("since", lastId);
    source = new EventSource(from);
    source.addEventListener("open", () => {
        retry = 0;
        say("live", "Live");
    });
    source.addEventListener("error", () => {
        say("lost", "No connection");
        // A browser gives up after an answer that is no stream, such as one of a proxy.
        if (source?.readyState === EventSource.CLOSED) {
            close();
            retry = Math.min(retry + 1, 6);
            setTimeout(() => !document.hidden && open(), 500 * 2 ** retry);
        }
    });
    for (const name of listeners.keys()) attach(name);
}

function close() {
    source?.close();
    source = null;
}

/** Begins to listen. */
export function start() {
    const names = [...document.querySelectorAll("[data-fragment]")].flatMap((part) => (part.dataset.on ?? "").split(/\s+/));
    for (const name of new Set(names.filter(Boolean))) onEvent(name, () => refreshAll(name));
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    addEventListener("pagehide", close);
    addEventListener("pageshow", (event) => event.persisted && open());
    if (!document.hidden) open();
}

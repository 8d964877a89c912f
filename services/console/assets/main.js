// What every page has: the switch of colours, dialogues, keys and the stream of changes.
import { start as startLive } from "./live.js";
import { onKey } from "./keys.js";

const root = document.documentElement;

/** The next of: as the system, light, dark. */
function switchTheme() {
    const next = { undefined: "light", light: "dark", dark: undefined }[root.dataset.theme];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
        if (next) localStorage.setItem("theme", next);
        else localStorage.removeItem("theme");
    } catch {
        // It lasts until the page is left.
    }
    nameTheme();
}

function nameTheme() {
    const button = document.getElementById("theme");
    if (!button) return;
    const name = { undefined: "as the system", light: "light", dark: "dark" }[root.dataset.theme];
    button.title = `Colours: ${name}`;
    button.querySelector(".visually-hidden").textContent = `Colours: ${name}. Switch`;
}

document.getElementById("theme")?.addEventListener("click", switchTheme);
nameTheme();

document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) document.getElementById(opener.dataset.dialog)?.showModal();
    const closer = event.target.closest("[data-close]");
    if (closer) closer.closest("dialog")?.close();
    const toggle = event.target.closest(".side-toggle");
    if (toggle) toggle.setAttribute("aria-expanded", toggle.closest(".side").classList.toggle("open"));
    // The dialogue itself is hit only beside its content.
    if (event.target instanceof HTMLDialogElement) event.target.close();
});

onKey("?", () => document.getElementById("keys")?.showModal());
startLive();

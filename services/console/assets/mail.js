// The list of mail: selection, keys, and actions without leaving the page.
import { announce, onEvent, refreshAll } from "./live.js";
import { onKey } from "./keys.js";

const form = document.getElementById("list");
const selected = new Set();
let current = null;

const rows = () => [...form.querySelectorAll(".row")];
const row = (key) => form.querySelector(`.row[data-key="${CSS.escape(key)}"]`);

/** Marks the row that keys act on. */
function setCurrent(next, focus = true) {
    for (const other of form.querySelectorAll(".row.current")) other.classList.remove("current");
    current = next?.dataset.key ?? null;
    next?.classList.add("current");
    if (next && focus) next.querySelector("a.open").focus({ preventScroll: true });
    next?.scrollIntoView({ block: "nearest" });
}

function move(by) {
    const all = rows();
    if (all.length === 0) return false;
    const at = all.findIndex((one) => one.dataset.key === current);
    setCurrent(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)]);
}

/** The messages that an action is for: those that are selected, or else the current one. */
const chosen = () => (selected.size > 0 ? [...selected] : current ? [current] : []);

async function act(action, ids) {
    if (ids.length === 0) return;
    const body = new URLSearchParams(ids.map((id) => ["id", id]));
    body.set("action", action);
    // The buttons are called "action" too, and hide the property of this name.
    const answer = await fetch(form.getAttribute("action"), { method: "POST", body, headers: { "X-Requested-With": "script" } });
    const text = await answer.text();
    const problem = document.getElementById("problem");
    problem.hidden = answer.ok;
    problem.textContent = answer.ok ? "" : text;
    if (answer.ok) {
        announce(text);
        const at = rows().findIndex((one) => one.dataset.key === current);
        if (action === "delete") selected.clear();
        await refreshAll("changed");
        if (current && !row(current)) setCurrent(rows()[Math.min(at, rows().length - 1)] ?? null);
    }
}

/** What the page shows of the selection. */
function showSelection() {
    for (const box of form.querySelectorAll(".row input[type=checkbox]")) box.checked = selected.has(box.value);
    const shown = rows().map((one) => one.dataset.key);
    for (const id of selected) if (!shown.includes(id)) selected.delete(id);
    const all = document.getElementById("select-all");
    if (all) {
        all.checked = shown.length > 0 && selected.size === shown.length;
        all.indeterminate = selected.size > 0 && !all.checked;
    }
    for (const button of form.querySelectorAll("[data-needs-selection]")) button.disabled = selected.size === 0;
    const number = document.getElementById("selected");
    if (number) number.textContent = selected.size > 0 ? `${selected.size} selected` : "";
    remember();
}

/** For the keys of the page of a message: in which order the list has them. */
function remember() {
    try {
        const messages = rows().map((one) => [one.dataset.key, one.querySelector("a.open").getAttribute("href")]);
        sessionStorage.setItem("list", JSON.stringify({ url: location.pathname + location.search, messages }));
    } catch {
        // There is no way from message to message then.
    }
}

if (form) {
    form.addEventListener("change", (event) => {
        if (event.target.id === "select-all") {
            for (const one of rows()) selected[event.target.checked ? "add" : "delete"](one.dataset.key);
        } else if (event.target.name === "id") {
            selected[event.target.checked ? "add" : "delete"](event.target.value);
        }
        showSelection();
    });
    form.addEventListener("submit", (event) => {
        const action = event.submitter?.value;
        if (!["delete", "read", "unread"].includes(action)) return;
        event.preventDefault();
        act(action, [...selected]);
    });
    form.addEventListener("focusin", (event) => {
        const one = event.target.closest(".row");
        if (one && one.dataset.key !== current) setCurrent(one, false);
    });
    document.addEventListener("patched", () => {
        showSelection();
        if (current) row(current)?.classList.add("current");
    });
    onKey("j", () => move(1));
    onKey("k", () => move(-1));
    onKey("ArrowDown", () => move(1));
    onKey("ArrowUp", () => move(-1));
    onKey("Enter", () => {
        if (document.activeElement?.matches("a, button, summary, input")) return false;
        if (current) row(current)?.querySelector("a.open").click();
    });
    onKey("x", () => {
        if (!current) return false;
        selected[selected.has(current) ? "delete" : "add"](current);
        showSelection();
    });
    onKey("#", () => act("delete", chosen()));
    onKey("Escape", () => {
        selected.clear();
        showSelection();
    });
    onKey("i", () => act("read", chosen()));
    onKey("o", () => act("unread", chosen()));
    onKey("u", () => {
        if (location.search) location.assign("/mail");
        else return false;
    });
    showSelection();
    // Back from a message: where it was.
    try {
        const from = sessionStorage.getItem("read");
        if (from && row(from)) setCurrent(row(from));
    } catch {
        // The list begins at its top.
    }
}

function search() {
    const field = document.getElementById("search");
    field?.focus();
    field?.select();
}

onKey("/", search);
if (location.hash === "#search") search();
onKey("c", () => location.assign("/compose"));
onEvent("mail", ({ new: number, from, subject }) => {
    announce(number === 1 ? `New mail from ${from}: ${subject || "no subject"}` : `${number} new messages`);
});

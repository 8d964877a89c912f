// One message: to its neighbours in the list, back to it, and away with it.
import { onKey } from "./keys.js";

const id = document.querySelector("[data-message]")?.dataset.message;
let list = { url: "/mail", messages: [] };
try {
    list = JSON.parse(sessionStorage.getItem("list")) ?? list;
    sessionStorage.setItem("read", id);
} catch {
    // There is no list then.
}
const at = list.messages.findIndex(([key]) => key === id);

function link(name, neighbour) {
    const shown = document.getElementById(name);
    if (!shown || at < 0 || !neighbour) return null;
    shown.href = neighbour[1];
    shown.hidden = false;
    return neighbour[1];
}

const newer = link("newer", list.messages[at - 1]);
const older = link("older", list.messages[at + 1]);
const back = document.getElementById("back");
if (back && at >= 0) back.href = list.url;
const press = (name) => document.getElementById(name)?.click();

onKey("j", () => (older ? location.assign(older) : false));
onKey("k", () => (newer ? location.assign(newer) : false));
onKey("u", () => press("back"));
onKey("Escape", () => press("back"));
onKey("#", () => press("delete"));
onKey("o", () => press("unread"));
onKey("/", () => location.assign("/mail#search"));
onKey("c", () => location.assign("/compose"));

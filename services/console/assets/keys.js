// Keys of one letter, while nobody writes.

const actions = new Map();

/** Calls `action` when this key is pressed outside of fields and dialogues. */
export function onKey(key, action) {
    actions.set(key, action);
}

function isWriting(target) {
    return target instanceof HTMLElement && target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && isWriting(event.target)) {
        // A browser would empty a search field.
        event.preventDefault();
        event.target.blur();
        return;
    }
    if (isWriting(event.target) || document.querySelector("dialog[open]")) return;
    const action = actions.get(event.key);
    if (action && action(event) !== false) event.preventDefault();
});

// Sets the chosen colours before anything is painted. A classic script: a module would run too late.
(() => {
    try {
        const theme = localStorage.getItem("theme");
        if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    } catch {
        // A browser that keeps nothing shows the colours of its system.
    }
    document.documentElement.classList.add("scripted");
})();

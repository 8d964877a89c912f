// Keeps relative times true, and asks before something is given up.

function words(seconds) {
    const whole = Math.abs(seconds);
    const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
    const text = whole < 60 ? `${whole} s` : whole < 3600 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    return seconds > 0 ? `in ${text}` : whole === 0 ? "now" : `${text} ago`;
}

setInterval(() => {
    for (const shown of document.querySelectorAll("[data-at]")) {
        shown.textContent = words(Math.round((Date.parse(shown.dataset.at) - Date.now()) / 1000));
    }
}, 1000);

document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
});

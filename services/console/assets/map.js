// Moves a dot along an edge of the map for each message that has gone over it. With reduced motion, only the counts change.

const MOST = 6;
const STAGGER = 140;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const SVG = "http://www.w3.org/2000/svg";
let counts = read();

function edges() {
    return [...document.querySelectorAll(".town-drawing [data-edge]")];
}

function read() {
    return new Map(edges().map((edge) => [edge.dataset.edge, Number(edge.dataset.count)]));
}

function move(edge, delay) {
    const layer = document.getElementById("moving");
    layer.setAttribute("viewBox", edge.ownerSVGElement.getAttribute("viewBox"));
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", edge.querySelector(".line").getAttribute("d"));
    const dot = document.createElementNS(SVG, "circle");
    dot.setAttribute("r", "6");
    layer.append(line, dot);
    const length = line.getTotalLength();
    const began = performance.now() + delay;
    const frame = (now) => {
        const share = Math.min(Math.max((now - began) / 900, 0), 1);
        const at = line.getPointAtLength(length * share);
        dot.setAttribute("cx", at.x);
        dot.setAttribute("cy", at.y);
        dot.setAttribute("visibility", now < began ? "hidden" : "visible");
        if (share < 1) return void requestAnimationFrame(frame);
        line.remove();
        dot.remove();
    };
    requestAnimationFrame(frame);
}

document.addEventListener("patched", (event) => {
    if (event.target.id !== "town") return;
    const before = counts;
    counts = read();
    for (const edge of edges()) {
        const more = Number(edge.dataset.count) - (before.get(edge.dataset.edge) ?? 0);
        if (more <= 0) continue;
        edge.classList.add("busy");
        setTimeout(() => edge.classList.remove("busy"), 1500);
        if (still.matches) continue;
        for (let index = 0; index < Math.min(more, MOST); index++) move(edge, index * STAGGER);
    }
});

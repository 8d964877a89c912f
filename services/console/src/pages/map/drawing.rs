//! The map as a drawing.

use super::town::{Edge, End, Node, Stack, TownMap};
use crate::{pages::format::count, services::ServiceKind};
use maud::{Markup, html};

/// The width of a stack, and of the room between two.
const STACK: i32 = 320;
const BETWEEN: i32 = 150;
/// The size of a service.
const NODE: (i32, i32) = (130, 46);
/// The edges of the drawing.
const MARGIN: i32 = 24;
const HEIGHT: i32 = 452;
/// How far below the stacks the way to other servers runs, and how far apart two such ways are.
const BELOW: i32 = 28;
/// Where the frame of a stack begins and ends.
const FRAME: (i32, i32) = (112, 364);

/// Where something is: its middle.
type Place = (i32, i32);

/// The middle of the other servers: as high as the gateways.
const OUTSIDE_Y: i32 = 196;

fn stack_x(index: usize) -> i32 {
    MARGIN + i32::try_from(index).unwrap_or(0) * (STACK + BETWEEN)
}

fn service_place(index: usize, kind: ServiceKind) -> Place {
    let (left, right) = (stack_x(index) + 85, stack_x(index) + STACK - 85);
    match kind {
        ServiceKind::Smtp => (left, 196),
        ServiceKind::Pop3 => (right, 196),
        ServiceKind::Store => (stack_x(index) + STACK / 2, 308),
        ServiceKind::Dns => (left, 400),
    }
}

fn agents_place(index: usize) -> Place {
    (stack_x(index) + STACK / 2, 44)
}

/// The drawing. It is hidden where there is no room for it.
pub(super) fn drawing(map: &TownMap) -> Markup {
    let stacks = i32::try_from(map.stacks.len()).unwrap_or(1);
    let has_outside = map.edges.iter().any(|edge| edge.to == End::Outside);
    let outside_x = stack_x(map.stacks.len()) + 60;
    let height = if has_outside { HEIGHT + stacks * BELOW } else { HEIGHT };
    let width = if has_outside { outside_x + 80 } else { 2 * MARGIN + stacks * STACK + (stacks - 1).max(0) * BETWEEN };
    let place = |end: &End| place(map, end, outside_x);
    html! {
        svg.town-drawing viewBox={ "0 0 " (width) " " (height) } role="group" aria-label="Map of the town" {
            @for (index, stack) in map.stacks.iter().enumerate() { (frame(index, stack)) }
            @for (index, stack) in map.stacks.iter().enumerate() { (wires(index, stack)) }
            @for edge in &map.edges { (arrow(edge, place(&edge.from), place(&edge.to))) }
            @for (index, stack) in map.stacks.iter().enumerate() {
                @let (x, y) = agents_place(index);
                g.agents { rect x=(x - 60) y=(y - 18) width="120" height="36" rx="18" {} text x=(x) y=(y + 5) { "Agents" } }
                @for node in &stack.nodes { (service(service_place(index, node.kind), node)) }
            }
            @if has_outside {
                g.agents { rect x=(outside_x - 66) y=(OUTSIDE_Y - 18) width="132" height="36" rx="18" {} text x=(outside_x) y=(OUTSIDE_Y + 5) { "Other servers" } }
            }
        }
    }
}

fn place(map: &TownMap, end: &End, outside_x: i32) -> Place {
    let index = |name: &str| map.stacks.iter().position(|stack| stack.name == name).unwrap_or(0);
    match end {
        End::Agents(stack) => agents_place(index(stack)),
        End::Service(stack, kind) => service_place(index(stack), *kind),
        End::Outside => (outside_x, OUTSIDE_Y),
    }
}

fn frame(index: usize, stack: &Stack) -> Markup {
    let x = stack_x(index);
    html! {
        g.stack-frame {
            rect x=(x) y=(FRAME.0) width=(STACK) height=(FRAME.1 + 70 - FRAME.0) rx="10" {}
            text x=(x + STACK - 16) y=(FRAME.1 + 50) { (stack.name) }
        }
    }
}

/// The calls within a stack, which carry no sessions of their own.
fn wires(index: usize, stack: &Stack) -> Markup {
    use ServiceKind::{Dns, Pop3, Smtp, Store};
    let has = |kind| stack.nodes.iter().any(|node| node.kind == kind);
    html! {
        @for (one, other) in [(Smtp, Store), (Pop3, Store), (Smtp, Dns)] {
            @if has(one) && has(other) {
                @let ((x, y), (to_x, to_y)) = (service_place(index, one), service_place(index, other));
                line.wire x1=(x) y1=(y) x2=(to_x) y2=(to_y) {}
            }
        }
    }
}

/// An edge with its count. Its key and count tell a script what has moved.
fn arrow(edge: &Edge, from: Place, to: Place) -> Markup {
    let path = path(edge, from, to);
    let Label { x, y, class, below } = label(edge, from, to);
    html! {
        a.edge.used[edge.sessions > 0].failed[edge.failed > 0].cut[edge.is_cut] href=(edge.url) data-edge=(edge.key) data-count=(edge.messages) {
            title { (edge.title) ": " (edge.says()) @if edge.failed > 0 { ", " (edge.failed) " failed" } }
            path.hit d=(path) {}
            path.line d=(path) {}
            text.count.(class) x=(x) y=(y) { (edge.messages) }
            @if edge.failed > 0 { text.failures.(class) x=(x) y=(y + below) { (count(edge.failed, "failure", "failures")) } }
        }
    }
}

/// Relays are arcs: over the gateways in one direction, below in the other, so that both are seen. The way to other servers
/// goes down beside the gateway, and below all stacks.
fn path(edge: &Edge, (x, y): Place, (to_x, to_y): Place) -> String {
    match (&edge.from, &edge.to) {
        (_, End::Outside) => {
            let (left, low, end) = (x - NODE.0 / 2, low(x), to_y + 18);
            let (far, aside) = (left - 10, to_x - 14 * stack_at(x));
            let (turn, arrive) = (low - 12, aside - 12);
            format!(
                "M{left} {y} Q{far} {y} {far} {} L{far} {turn} Q{far} {low} {} {low} L{arrive} {low} Q{aside} {low} {aside} {turn} L{aside} {end}",
                y + 12,
                far + 12
            )
        }
        (End::Service(..), End::Service(..)) => {
            let bend = bend(x, to_x);
            let side = if to_x > x { NODE.1 / 2 } else { -NODE.1 / 2 };
            let (start, end) = (y - side, to_y - side);
            format!("M{x} {start} C{x} {} {to_x} {} {to_x} {end}", start - bend, end - bend)
        }
        _ => {
            let (start, end) = if to_y > y { (y + 18, to_y - NODE.1 / 2) } else { (y - NODE.1 / 2, to_y + 18) };
            format!("M{x} {start} L{to_x} {end}")
        }
    }
}

fn bend(x: i32, to_x: i32) -> i32 {
    let height = 44 + (to_x - x).abs() / 40;
    if to_x > x { height } else { -height }
}

/// Which stack has its SMTP gateway here.
fn stack_at(x: i32) -> i32 {
    (x - MARGIN) / (STACK + BETWEEN)
}

/// How deep the way of this gateway to other servers runs.
fn low(x: i32) -> i32 {
    HEIGHT + BELOW * stack_at(x)
}

/// Where the numbers of an edge stand.
struct Label {
    x: i32,
    y: i32,
    /// On which side of `x` they are.
    class: &'static str,
    /// How far below the number of messages that of failures is; above it, where it is negative.
    below: i32,
}

fn label(edge: &Edge, (x, y): Place, (to_x, to_y): Place) -> Label {
    match (&edge.from, &edge.to) {
        // In the free room before the other servers. The number of failures is on the other side of the line.
        (_, End::Outside) => Label { x: to_x - 84, y: low(x) - 5, class: "middle", below: 20 },
        (End::Service(..), End::Service(..)) => {
            let is_over = to_x > x;
            let side = if is_over { NODE.1 / 2 } else { -NODE.1 / 2 };
            // In the room before the stack that is further to the right.
            let between = x.max(to_x) - 85 - BETWEEN / 2;
            let height = f64::from(bend(x, to_x)) * height_at(f64::from(between - x) / f64::from(to_x - x));
            let y = y - side - height as i32 + if is_over { 18 } else { 16 };
            Label { x: between, y, class: "middle", below: 15 }
        }
        _ => {
            // A third of the way from the agents, beside the line.
            let (near, far) = if y < to_y { ((x, y), (to_x, to_y)) } else { ((to_x, to_y), (x, y)) };
            let (class, aside) = if far.0 > near.0 { ("after", 8) } else { ("before", -8) };
            let (x, y) = (near.0 + (far.0 - near.0) / 3 + aside, near.1 + (far.1 - near.1) / 3 + 4);
            // The line comes nearer below.
            Label { x, y, class, below: -16 }
        }
    }
}

/// How high an arc is at a share of its width, as a part of its bend: it is a cubic curve whose control points are above its ends.
fn height_at(share: f64) -> f64 {
    let along = 0.5 - ((1.0 - 2.0 * share.clamp(0.0, 1.0)).asin() / 3.0).sin();
    3.0 * along * (1.0 - along)
}

fn service((x, y): Place, node: &Node) -> Markup {
    let (width, height) = NODE;
    html! {
        a.node.silent[!node.answers].faulty[node.faults > 0] href=(node.url) {
            title { (node.name) ": " (node.says) }
            rect x=(x - width / 2) y=(y - height / 2) width=(width) height=(height) rx="6" {}
            text x=(x) y=(y - 2) { (node.name) }
            text.says x=(x) y=(y + 14) { (node.says) }
        }
    }
}

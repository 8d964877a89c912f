//! What is shown where no mail is: how to send some.

use super::View;
use maud::{Markup, html};

/// Says how mail gets here, with the addresses and ports of this town.
pub(super) fn shown(view: &View, servers: &Markup) -> Markup {
    html! {
        div.empty {
            @if view.mailbox.is_empty() { h2 { "No mail yet" } } @else { h2 { "No mail for " (view.mailbox) } }
            p.quiet { "Whatever is sent to these servers appears here at once." }
            (servers)
            p { a.button.primary href="/compose" { "Compose a message" } }
        }
    }
}

//! The files that the configuration names.

use super::{Check, Place};
use crate::certificates;
use town_config::Stack;
use town_tls::Trust;

impl Check<'_> {
    /// Whether the certificate of a stack and its key can be used.
    pub(super) fn certificate(&mut self, stack: &Stack) {
        for (key, fault) in certificates::own_faults(stack) {
            self.error(Place::config(["server", stack.name.as_str(), "tls", key]), fault);
        }
    }

    /// Warns of what the relay cannot read. It reads again for each connection, so the files may come later.
    pub(super) fn relay_files(&mut self) {
        // The table is that of the whole town.
        let Some(stack) = self.config.stacks().next() else { return };
        if let Some(file) = stack.relay_authorities()
            && let Err(error) = Trust::new(None).verified(Some(&file))
        {
            let text = format!(
                "relay.ca: {error}; name a file with the certificates of authorities in PEM, because mail that needs a \
                 verified certificate waits until then"
            );
            self.warn(Place::config(["relay", "ca"]), text);
        }
        if let Some(smarthost) = &stack.relay.smarthost
            && let Err(error) = smarthost.password(stack.config_path())
        {
            let text = format!(
                "relay.smarthost.password_file: {error}; name a file that mailtown can read, because no mail leaves until then"
            );
            self.warn(Place::config(["relay", "smarthost", "password_file"]), text);
        }
    }
}

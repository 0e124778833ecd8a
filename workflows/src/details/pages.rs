//! Links from a run's details to the API's pages.

use std::sync::OnceLock;

use model::Version;

static API: OnceLock<String> = OnceLock::new();

/// Sets the address of the API, `http://host:port`; without it the details have no links.
///
/// Only the first call counts.
///
/// The address belongs to this process, not to a run's input: details are not part of a history, so a replay may link
/// to another address. An address that does not work in a Markdown link is refused.
pub fn set_api_url(url: &str) -> Result<(), String> {
    let url = url.trim_end_matches('/');
    let is_link = (url.starts_with("http://") || url.starts_with("https://"))
        && url.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:/[]%@".contains(c));
    if !is_link {
        return Err(format!("`{url}` is not an address such as http://127.0.0.1:8086"));
    }
    API.get_or_init(|| url.to_owned());
    Ok(())
}

/// Links to the pages of these versions and of the API; none if the address is not set.
pub(super) fn links(versions: &[Version]) -> Option<String> {
    API.get().map(|api| links_at(api, versions))
}

fn links_at(api: &str, versions: &[Version]) -> String {
    let cards = versions.iter().map(|version| format!("[model card of {version}]({api}/#card={version})"));
    let own = [format!("[web page]({api}/#models)"), format!("[API]({api}/docs)")];
    cards.chain(own).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cards_come_first() {
        let version = Version::derive(0, "w", "r", "t");
        let links = links_at("http://api:1", std::slice::from_ref(&version));
        assert!(links.starts_with(&format!("[model card of {version}](http://api:1/#card={version}) · ")), "{links}");
        assert!(links.ends_with("[API](http://api:1/docs)"), "{links}");
    }

    #[test]
    fn an_address_that_is_no_link_is_refused() {
        for wrong in ["", "127.0.0.1:8086", "javascript:alert(1)", "http://a b", "http://x) [y](z"] {
            assert!(set_api_url(wrong).is_err(), "{wrong}");
        }
    }
}

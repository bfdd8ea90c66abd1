//! The file itself: style, scripts and data in one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page/style.css");

/// The scripts, in the order in which they need each other. They share one scope.
const SCRIPTS: [&str; 8] = [
    include_str!("page/format.js"),
    include_str!("page/elements.js"),
    include_str!("page/range.js"),
    include_str!("page/timeline.js"),
    include_str!("page/latency.js"),
    include_str!("page/flame.js"),
    include_str!("page/table.js"),
    include_str!("page/main.js"),
];

/// The page with this data.
pub(super) fn page(title: &str, json: &str) -> String {
    let script = SCRIPTS.join("\n");
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(&script),
        hash(STYLE)
    );
    let title = markup(title);
    let data = inert(json);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <noscript>This page draws what was recorded with scripts of its own, which are switched off. \
         `analyze info` tells the same in a terminal.</noscript>\n\
         <div id=\"page\"></div>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>{script}</script>\n</body>\n</html>\n"
    )
}

/// JSON that can stand in an element: without what could end it or begin another, and without what some
/// reader takes for the end of a line or no character. All of these occur only in texts.
pub(super) fn inert(json: &str) -> String {
    let mut inert = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<'
            | '>'
            | '&'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                inert.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => inert.push(other),
        }
    }
    inert
}

/// Text between tags.
fn markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_element() {
        let hostile = "</script><script>alert(1)</script><!-- \u{2028}\u{fffe}\u{9b}&amp;";
        let json = serde_json::to_string(&[hostile]).expect("texts are JSON");
        let inert = inert(&json);
        assert!(inert.is_ascii() && !inert.contains(['<', '>', '&']), "{inert}");
        let back: Vec<String> = serde_json::from_str(&inert).expect("it is still JSON");
        assert_eq!(back, [hostile]);
        let page = page("<img onerror>", &json);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("<title>&lt;img onerror&gt;</title>"));
    }

    #[test]
    fn the_policy_names_what_is_in_the_page() {
        let page = page("", "{}");
        assert!(!page.contains("unsafe") && !page.contains(" style=") && !page.contains("http://"));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
        for script in SCRIPTS {
            assert!(!script.contains("</script") && !script.contains("innerHTML"));
        }
    }
}

//! All pages: with keys alone, in dark colours, on a phone.

use crate::{
    browser::{Browser, Window, with_browser},
    story::Story,
};

const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
/// More than a page of these tests has.
const MOST_CONTROLS: usize = 200;

/// What has the focus: nothing at the end, else whether it is seen, and whether it comes after the one before.
const FOCUS: &str = "
    const now = document.activeElement;
    if (now === document.body || now === null) return null;
    const shown = now.closest('.row') ?? now;
    const outlined = [now, shown].some((one) => getComputedStyle(one).outlineStyle !== 'none');
    const before = window.before;
    window.before = now;
    const follows = !before || !before.isConnected || Boolean(before.compareDocumentPosition(now) & Node.DOCUMENT_POSITION_FOLLOWING);
    const box = now.getBoundingClientRect();
    return { what: `${now.tagName} ${now.id} ${now.textContent.trim().slice(0, 40)}`, outlined, follows, placed: box.width > 0 && box.height > 0 };";

/// Walks through a page with the Tab key: each control once, in the order of the page, and seen.
async fn walk(browser: &Browser, path: &str) -> usize {
    browser.open(path).await;
    browser.settled().await;
    for number in 0..MOST_CONTROLS {
        browser.press(TAB).await;
        let focus = browser.script(FOCUS).await;
        if focus.is_null() || (number > 0 && focus["what"].as_str().unwrap().contains("Skip to the content")) {
            return number;
        }
        for needed in ["outlined", "follows", "placed"] {
            assert_eq!(focus[needed], true, "{path}: {focus} is not {needed}");
        }
        if number == 0 {
            assert!(focus["what"].as_str().unwrap().contains("Skip to the content"), "{path}: {focus}");
        }
    }
    panic!("{path}: more than {MOST_CONTROLS} controls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_is_used_with_keys_alone() {
    let story = Story::begin().await;
    with_browser(story.town.console(), Window::Wide, async |browser| {
        for (_, path) in story.pages() {
            let controls = walk(browser, &path).await;
            assert!(controls > 5, "{path}: {controls}");
        }
        // A session is opened, and a message is retried, without a pointer.
        browser.open("/sessions").await;
        browser.script("document.querySelector('.filter button').focus()").await;
        browser.press(TAB).await;
        browser.press(ENTER).await;
        browser.holds("location.pathname.startsWith('/sessions/')").await;
        browser.open("/queue").await;
        browser.script("document.querySelector('button[value=retry]').focus()").await;
        // What has the focus keeps it when the page is brought up to date.
        let mark = "document.querySelector('.queued').dataset.old = 'yes'";
        browser.script(mark).await;
        story.town.send("usr1@mail.sustech.edu.cn", &["usr2@mail.sustech.edu.cn"], b"Subject: news\r\n\r\n").await;
        browser.holds("!document.querySelector('[data-old]') && document.activeElement.value === 'retry'").await;
        story.make_room().await;
        for _ in 0..2 {
            browser.script("document.querySelector('button[value=retry]').focus()").await;
            browser.press(ENTER).await;
            browser.holds("location.pathname === '/queue'").await;
        }
        browser.press('?').await;
        browser.appears("dialog#keys[open]").await;
    })
    .await;
    story.town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_is_dark_where_the_system_is() {
    let story = Story::begin().await;
    with_browser(story.town.console(), Window::Dark, async |browser| {
        for (name, path) in story.pages() {
            browser.open(&path).await;
            browser.settled().await;
            let ground = browser.script("return getComputedStyle(document.body).backgroundColor").await;
            assert_eq!(ground, "rgb(15, 17, 21)", "{path}");
            browser.picture(&format!("dark-{name}")).await;
        }
        // The switch goes from the system's colours to light ones.
        browser.click("#theme").await;
        browser.holds("getComputedStyle(document.body).backgroundColor === 'rgb(246, 247, 249)'").await;
    })
    .await;
    story.town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_fits_a_phone() {
    let story = Story::begin().await;
    with_browser(story.town.console(), Window::Phone, async |browser| {
        for (name, path) in story.pages() {
            browser.open(&path).await;
            browser.settled().await;
            browser.picture(&format!("phone-{name}")).await;
            let width = browser.script("return document.documentElement.scrollWidth").await;
            assert!(width.as_u64().unwrap() <= 390, "{path} is {width} wide");
            let fits = "const tools = document.querySelector('.bar .tools').getBoundingClientRect(); \
                        return tools.right <= 390 && [...document.querySelectorAll('.bar nav a')].every((link) => link.getBoundingClientRect().right <= tools.left)";
            assert_eq!(browser.script(fits).await, true, "{path}: the bar is cut off");
        }
    })
    .await;
    story.town.stop().await;
}

//! Sessions: one in which everything was refused is found, and read with its remarks.

use crate::{
    browser::{Window, with_browser},
    story::Story,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_session_is_found_and_read() {
    let story = Story::begin().await;
    let Story { town, refused, .. } = &story;
    with_browser(town.console(), Window::Wide, async |browser| {
        browser.open("/sessions").await;
        browser.holds("document.querySelectorAll('.session-row').length >= 6").await;
        browser.picture("sessions").await;
        browser.choose("select[name=state]", "failed").await;
        browser.choose("select[name=stack]", "gmail.com").await;
        browser.write("input[name=peer]", "127.0.0.1").await;
        browser.click(".filter button").await;
        browser.holds("location.search.includes('state=failed') && document.querySelector('.session-row')").await;
        let row = format!(".session-row[data-key='{refused}']");
        let text = browser.text(&row).await;
        assert!(text.contains("SMTP") && text.contains("550 5.1.1 <nobody@gmail.com>"), "{text}");
        assert_eq!(browser.script("return document.querySelectorAll('.session-row:not(.failed)').length").await, 0);
        browser.click(&format!("{row} a")).await;
        browser.is_at(&format!("/sessions/{refused}")).await;

        let talk = browser.text(".talk").await;
        for part in ["EHLO student", "RCPT TO:<nobody@gmail.com>", "550 5.1.1", "no such mailbox here", "The policy refuses"] {
            assert!(talk.contains(part), "{part} is not in {talk}");
        }
        assert!(browser.text(".remark").await.contains("The line ends with LF alone"));
        assert!(browser.text(".notice").await.starts_with("1 breach of an RFC"));
        browser.click(".notice a").await;
        browser.holds("document.querySelector('.said.breach:target')").await;
        browser.holds("document.querySelector('.said .eol.bare').textContent === '\\\\n'").await;
        browser.picture("session-refused").await;
        browser.holds("document.querySelector('.explanation').checkVisibility()").await;
        // From below the bar.
        browser.script("scrollTo(0, 0)").await;
        browser.click("#explain").await;
        browser.holds("!document.querySelector('.explanation').checkVisibility()").await;
        // The files of the session are there.
        let files = "Promise.all([...document.querySelectorAll('.downloads a')].map(async ({ href }) => (await fetch(href)).status)).then((all) => window.files = all.join(' '))";
        browser.script(files).await;
        browser.holds("window.files === '200 200 200'").await;
    })
    .await;
    story.town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_read_while_it_lasts() {
    let story = Story::begin().await;
    let town = &story.town;
    with_browser(town.console(), Window::Wide, async |browser| {
        let mut client = town.smtp("gmail.com").await;
        client.hello().await;
        browser.open("/sessions?state=open&protocol=smtp").await;
        browser.holds("document.querySelector('.session-row .state.ok')?.textContent === 'open'").await;
        browser.click(".session-row a").await;
        browser.holds("document.querySelector('.talk')?.textContent.includes('EHLO laptop')").await;
        browser.holds("document.getElementById('link-state').dataset.state === 'live'").await;
        client.command("VRFY nobody").await.unwrap();
        browser.holds("document.querySelector('.talk').textContent.includes('VRFY nobody')").await;
        client.command("QUIT").await.unwrap();
        browser.holds("document.querySelector('.ended').textContent !== 'The session is open.'").await;
        browser.open("/sessions?message=nonsense").await;
        browser.appears(".panel.empty").await;
    })
    .await;
    story.town.stop().await;
}

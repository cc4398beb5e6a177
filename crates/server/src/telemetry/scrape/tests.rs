//! Targets that come, change and go, and the pages that are read of them over the network.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{plan::tests, *};
use crate::telemetry::tests::{samples, start};

const DEADLINE: Duration = Duration::from_secs(60);

/// `a` and how often it was asked; a page `/held` is answered when it is let go.
#[derive(Clone, Default)]
struct Site {
    asked: Arc<AtomicU64>,
    /// Whether `/held` is being asked, and whether it may be answered.
    held: Arc<(Mutex<(bool, bool)>, Condvar)>,
}

impl Site {
    fn served() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let site = Self::default();
        let served = site.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let served = served.clone();
                thread::spawn(move || {
                    let mut head = [0; 4_096];
                    let length = stream.read(&mut head).unwrap_or(0);
                    if head[..length].starts_with(b"GET /held") {
                        let (state, changed) = &*served.held;
                        let mut state = state.lock().unwrap();
                        state.0 = true;
                        changed.notify_all();
                        let waited = changed.wait_timeout_while(state, DEADLINE, |it| !it.1);
                        drop(waited.unwrap());
                    }
                    let page = format!("a {}\n", served.asked.fetch_add(1, Ordering::Relaxed) + 1);
                    let length = page.len();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
                    );
                    stream.write_all(answer.as_bytes()).ok();
                });
            }
        });
        (site, address)
    }

    fn wait_until_held(&self) {
        let (state, changed) = &*self.held;
        let waited = changed.wait_timeout_while(state.lock().unwrap(), DEADLINE, |it| !it.0);
        assert!(!waited.unwrap().1.timed_out(), "nobody asks");
    }

    fn let_go(&self) {
        self.held.0.lock().unwrap().1 = true;
        self.held.1.notify_all();
    }
}

struct Following {
    telemetry: Arc<Telemetry>,
    board: Arc<Board>,
    news: mpsc::UnboundedSender<Heard>,
    _data: tempfile::TempDir,
}

impl Following {
    fn begun() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (telemetry, board) = (start(data.path()), Arc::new(Board::default()));
        let (news, heard) = mpsc::unbounded_channel();
        let scrapes = Scrapes::new(Arc::clone(&telemetry), Arc::clone(&board));
        tokio::spawn(scrapes.follow(heard));
        Self {
            telemetry,
            board,
            news,
            _data: data,
        }
    }

    /// Every 50 ms from a path.
    fn scrape(&self, path: &str) {
        let mut scrape = tests::scrape();
        scrape.interval = Duration::from_millis(50);
        scrape.timeout = DEADLINE;
        scrape.path = path.to_owned();
        self.news
            .send(Heard::Scrapes(vec![Arc::new(scrape)]))
            .unwrap();
    }

    fn targets(&self, upserted: &[&Target], removed: &[&Target]) {
        let heard = Heard::Targets {
            upserted: upserted
                .iter()
                .map(|target| Arc::new((*target).clone()))
                .collect(),
            removed: removed.iter().map(|target| target.id.clone()).collect(),
        };
        self.news.send(heard).unwrap();
    }

    /// Whether something holds about the lines of the board.
    async fn wait(&self, what: &str, holds: impl Fn(&[crate::api::ScrapeStatus]) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let lines = self.board.after("", 10);
            if holds(&lines) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {lines:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn wait_for_page(&self, path: &str) {
        self.wait(path, |lines| {
            let [line] = lines else { return false };
            line.url.ends_with(path) && line.last_at.is_some() && line.error.is_none()
        })
        .await;
    }

    fn ends(&self, name: &str) -> usize {
        let found = samples(&self.telemetry, name);
        let ends = found.iter().flat_map(|line| line.split(' '));
        ends.filter(|word| *word == "end").count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_that_changes_keeps_its_series_and_one_of_other_labels_begins_new_ones() {
    let (_, address) = Site::served();
    let following = Following::begun();
    let mut target = tests::target(&address);
    following.targets(&[&target], &[]);
    following.scrape("/one");
    following.wait_for_page("/one").await;
    following.scrape("/two");
    following.wait_for_page("/two").await;
    assert_eq!((following.ends("a"), following.ends("up")), (0, 0));
    target.labels = pitcrew_model::Labels::new([("zone", "b")]).unwrap();
    following.targets(&[&target], &[]);
    following
        .wait("the new label", |lines| {
            let [line] = lines else { return false };
            line.labels.get("zone").is_some_and(|zone| zone == "b") && line.last_at.is_some()
        })
        .await;
    let deadline = Instant::now() + DEADLINE;
    while (following.ends("a"), following.ends("up")) != (1, 1) {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            samples(&following.telemetry, "a")
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    following.telemetry.stop();
}

/// The reader of before is in the middle of a page that takes long.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_comes_back_is_read_on_and_nobody_ends_its_series_afterwards() {
    let (site, address) = Site::served();
    let following = Following::begun();
    let target = tests::target(&address);
    // Another id, the same labels.
    let mut again = target.clone();
    again.id = TargetId::new("node-2").unwrap();
    following.scrape("/page");
    following.targets(&[&target], &[]);
    following.wait_for_page("/page").await;
    following.scrape("/held");
    tokio::task::block_in_place(|| site.wait_until_held());
    following.targets(&[], &[&target]);
    following.scrape("/after");
    following.targets(&[&again], &[]);
    following.wait_for_page("/after").await;
    site.let_go();
    let asked = site.asked.load(Ordering::Relaxed);
    let deadline = Instant::now() + DEADLINE;
    while site.asked.load(Ordering::Relaxed) < asked + 5 {
        assert!(Instant::now() < deadline, "nobody asks any more");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let [a] = &samples(&following.telemetry, "a")[..] else {
        panic!("one series")
    };
    let (before, after) = a.split_once(" end ").expect("it ended with its target");
    assert!(before.ends_with('1') || before.contains(' '), "{a}");
    assert!(!after.contains("end"), "{a}");
    following.telemetry.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_targets_with_the_same_labels_only_the_last_to_go_ends_their_series() {
    let (_, address) = Site::served();
    let following = Following::begun();
    let one = tests::target(&address);
    let mut two = one.clone();
    two.id = TargetId::new("node-2").unwrap();
    following.scrape("/page");
    following.targets(&[&one, &two], &[]);
    following
        .wait("both are read", |lines| {
            lines.len() == 2 && lines.iter().all(|line| line.last_at.is_some())
        })
        .await;
    let ends = || (following.ends("a"), following.ends("up"));
    // A line is gone when all has been written.
    following.targets(&[], &[&one]);
    following.wait("one", |lines| lines.len() == 1).await;
    assert_eq!(ends(), (0, 0));
    following.targets(&[], &[&two]);
    following.wait("none", <[_]>::is_empty).await;
    assert_eq!(ends(), (1, 1));
    following.telemetry.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_targets_that_came_and_went_is_nothing() {
    let (_, address) = Site::served();
    let following = Following::begun();
    following.scrape("/page");
    let mut scrapes = Scrapes::new(Arc::clone(&following.telemetry), Arc::default());
    scrapes.hear(Heard::Scrapes(vec![Arc::new(tests::scrape())]));
    for zone in 0..20 {
        let mut target = tests::target(&address);
        target.labels = pitcrew_model::Labels::new([("zone", zone.to_string())]).unwrap();
        let id = target.id.clone();
        let upserted = vec![Arc::new(target)];
        scrapes.hear(Heard::Targets {
            upserted,
            removed: Vec::new(),
        });
        if zone % 2 == 0 {
            scrapes.hear(Heard::Targets {
                upserted: Vec::new(),
                removed: vec![id],
            });
        }
    }
    assert_eq!(scrapes.board.after("", 10).len(), 1);
    let id = tests::target(&address).id;
    scrapes.hear(Heard::Targets {
        upserted: Vec::new(),
        removed: vec![id],
    });
    while let Some(ended) = scrapes.running.join_next_with_id().await {
        scrapes.forget(ended.unwrap().0);
    }
    assert_eq!(scrapes.board.after("", 10), []);
    assert!(scrapes.tasks.is_empty() && scrapes.targets.is_empty());
    assert!(scrapes.ending.is_empty() && scrapes.labels_of_ending.is_empty());
    assert!(scrapes.sharing.is_empty());
    following.telemetry.stop();
}

//! What a large list costs before and while it is worked on, counted and not timed.

use ollmcp::domain::command::Command;
use ollmcp::domain::event::{Stamped, encode};
use ollmcp::domain::ids::TaskId;
use ollmcp::domain::payload::Items;
use ollmcp::domain::plan::Step;
use ollmcp::domain::run::{Due, due};

use super::story::{Plans, Story, bytes_of};

const PARALLEL: u32 = 8;

fn opened(len: u32) -> Story {
    let plan = Plans::of(vec![
        Step { max_parallel: PARALLEL, ..Plans::each("a", len) },
        Step { max_parallel: PARALLEL, ..Plans::flow("b", "a") },
    ]);
    let mut story = Story::new(&plan);
    story.run("open a; open b");
    story
}

#[test]
fn a_list_of_a_million_costs_bytes_before_it_starts() {
    let (small, large) = (opened(10), opened(1_000_000));
    assert!(large.state.tasks.is_empty());
    assert!(bytes_of(&large.state).len() <= bytes_of(&small.state).len() + 2 * "000000".len());
    for event in &large.events[1..] {
        assert!(encode(event).len() < 200, "{}", String::from_utf8_lossy(&encode(event)));
    }
    let list = Items::List {
        len: 1_000_000,
        blob: ollmcp::domain::payload::BlobRef { sha256: ollmcp::domain::ids::Digest([0xab; 32]), bytes: u64::MAX },
    };
    let event = ollmcp::domain::event::Event::StepOpened { step: 7, items: list, ladder: Default::default() };
    let bytes = encode(&Stamped::new(1_700_000_000_000, event));
    assert!(bytes.len() < 260, "{}", String::from_utf8_lossy(&bytes));
}

#[test]
fn what_is_due_does_not_grow_with_the_list() {
    for len in [10, 1_000_000] {
        let mut story = opened(len);
        let first: Vec<Due> = due(&story.state);
        assert_eq!(first, (0..PARALLEL).map(|item| Due::Start { task: TaskId::new(0, item) }).collect::<Vec<_>>());
        // The same in the middle of the list, with gaps below.
        for item in [0, 2, 3, 7] {
            story.run(&format!("start a.{item}; output a.{item}; accept a.{item}"));
        }
        let items = |step: u32, story: &Story| {
            let tasks = due(&story.state).into_iter().filter_map(|due| match due {
                Due::Start { task } if task.step == step => Some(task.item),
                _ => None,
            });
            tasks.collect::<Vec<_>>()
        };
        let expected: Vec<u32> = [1, 4, 5, 6, 8, 9, 10, 11].into_iter().filter(|item| *item < len).collect();
        assert_eq!(items(0, &story), expected);
        assert_eq!(items(1, &story), [0, 2, 3, 7]);
        assert!(due(&story.state).len() <= 2 * PARALLEL as usize);
    }
}

#[test]
fn a_batch_keeps_what_is_due_bounded_from_its_first_item_to_its_last() {
    const LEN: u32 = 5_000;
    let plan = Plans::of(vec![Step { max_parallel: PARALLEL, ..Plans::each("a", LEN) }]);
    let mut story = Story::new(&plan);
    story.replayed = None;
    story.run_silently("open a");
    let mut most = 0;
    while story.state.head.end.is_none() {
        let list = due(&story.state);
        most = most.max(list.len());
        for one in list {
            match one {
                Due::Start { task } => {
                    story.work(task);
                }
                Due::Consequence(command) => story.tell_silently(command),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(most, PARALLEL as usize);
    assert_eq!(story.state.steps[0].counts.done, LEN);
}

impl Story {
    fn run_silently(&mut self, text: &str) {
        let command = self.command(text);
        self.tell_silently(command);
    }

    /// Without the twin that is folded from bytes.
    fn tell_silently(&mut self, command: Command) {
        for event in ollmcp::domain::run::decide(&self.state, command, self.now_ms).unwrap() {
            ollmcp::domain::run::apply(&mut self.state, &Stamped::new(self.now_ms, event)).unwrap();
        }
    }

    fn work(&mut self, task: TaskId) {
        let name = format!("a.{}", task.item);
        for text in ["start", "output", "accept"] {
            let command = self.command(&format!("{text} {name}"));
            self.tell_silently(command);
        }
    }
}

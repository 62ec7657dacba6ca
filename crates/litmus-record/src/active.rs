//! The step that is active: the one that a log record on this thread, or in this task, belongs to.
//!
//! Every thread has a stack of what was made active on it; the innermost that has not ended counts. A task that moves between
//! threads takes a stack of its own along ([`scope`]).

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::{Outcome, Step, Vector};

/// What can be active.
#[derive(Clone, Debug)]
pub(crate) enum Active {
    Step(Step),
    Vector(Vector),
}

impl Active {
    fn has_ended(&self) -> bool {
        match self {
            Self::Step(step) => step.has_ended(),
            Self::Vector(vector) => vector.has_ended(),
        }
    }

    pub(crate) fn step(&self) -> &Step {
        match self {
            Self::Step(step) => step,
            Self::Vector(vector) => vector.parent(),
        }
    }

    /// Fails the vector, and at once the step: whoever looks at the step sees it.
    pub(crate) fn fail(&self, message: String) {
        if let Self::Vector(vector) = self {
            vector.judge(Outcome::Failed, Some(message.clone()));
        }
        self.step().judge(Outcome::Failed, Some(message));
    }
}

#[derive(Debug)]
struct Entry {
    active: Active,
    alive: Arc<AtomicBool>,
    /// The span that made it active, if one did.
    span: Option<u64>,
}

#[derive(Debug, Default)]
struct Stack(Vec<Entry>);

impl Stack {
    /// The innermost that counts; what lies above it is over and is forgotten.
    fn top(&mut self) -> Option<&Active> {
        let alive = |entry: &Entry| entry.alive.load(Ordering::Acquire) && !entry.active.has_ended();
        while self.0.pop_if(|entry| !alive(entry)).is_some() {}
        self.0.last().map(|entry| &entry.active)
    }
}

thread_local! {
    static STACK: RefCell<Stack> = RefCell::default();
}

/// Runs with this thread's stack; not at all while the thread is torn down, or from within itself.
fn with_stack<T>(run: impl FnOnce(&mut Stack) -> T) -> Option<T> {
    STACK.try_with(|stack| stack.try_borrow_mut().ok().map(|mut stack| run(&mut stack))).ok().flatten()
}

pub(crate) fn active() -> Option<Active> {
    with_stack(|stack| stack.top().cloned()).flatten()
}

/// The active step of this thread or task: the innermost that was made active and has not ended.
pub fn active_step() -> Option<Step> {
    active().map(|active| active.step().clone())
}

/// The active vector, if the innermost that is active is one.
pub fn active_vector() -> Option<Vector> {
    match active()? {
        Active::Vector(vector) => Some(vector),
        Active::Step(_) => None,
    }
}

/// Keeps a step or vector active on the thread where it was made, until it is dropped, on any thread.
#[derive(Debug)]
#[must_use = "the step is active until this is dropped"]
pub struct Activation {
    alive: Arc<AtomicBool>,
}

impl Activation {
    pub(crate) fn push(active: Active) -> Self {
        let alive = Arc::new(AtomicBool::new(true));
        let entry = Entry { active, alive: Arc::clone(&alive), span: None };
        with_stack(|stack| {
            stack.top();
            stack.0.push(entry);
        });
        Self { alive }
    }

    /// As if dropped.
    pub(crate) fn end(&self) {
        self.alive.store(false, Ordering::Release);
    }
}

impl Drop for Activation {
    fn drop(&mut self) {
        self.end();
        // What is dropped may drop the last handle of a run, which is let go outside the borrow.
        let over = with_stack(|stack| match stack.0.last() {
            Some(last) if Arc::ptr_eq(&last.alive, &self.alive) => stack.0.pop(),
            _ => None,
        });
        drop(over);
    }
}

/// A span was entered on this thread that belongs to `active`.
#[cfg_attr(not(feature = "tracing"), allow(dead_code))]
pub(crate) fn enter_span(span: u64, active: Active) {
    let entry = Entry { active, alive: Arc::new(AtomicBool::new(true)), span: Some(span) };
    with_stack(|stack| stack.0.push(entry));
}

/// A span was left on this thread.
#[cfg_attr(not(feature = "tracing"), allow(dead_code))]
pub(crate) fn exit_span(span: u64) {
    let over = with_stack(|stack| {
        let at = stack.0.iter().rposition(|entry| entry.span == Some(span))?;
        Some(stack.0.remove(at))
    });
    drop(over);
}

/// Runs a future with active steps of its own, which it takes along from thread to thread; it starts with the step that is
/// active now. Wrap each task in which steps are opened: `tokio::spawn(scope(async move { … }))`.
pub fn scope<F: Future>(future: F) -> Scoped<F> {
    Scoped::new(active(), future)
}

/// A future with active steps of its own: [`scope`], [`Step::scope`].
#[derive(Debug)]
pub struct Scoped<F> {
    // Boxed, so that no unsafe projection is needed.
    future: Pin<Box<F>>,
    stack: Stack,
}

impl<F> Scoped<F> {
    pub(crate) fn new(active: Option<Active>, future: F) -> Self {
        let entry = active.map(|active| Entry { active, alive: Arc::new(AtomicBool::new(true)), span: None });
        Self { future: Box::pin(future), stack: Stack(entry.into_iter().collect()) }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        /// Swaps the stacks back, after a panic, too.
        struct Swapped<'a>(&'a mut Stack);
        impl<'a> Swapped<'a> {
            fn new(stack: &'a mut Stack) -> Self {
                with_stack(|current| std::mem::swap(current, stack));
                Self(stack)
            }
        }
        impl Drop for Swapped<'_> {
            fn drop(&mut self) {
                with_stack(|current| std::mem::swap(current, self.0));
            }
        }
        let this = &mut *self;
        let _swapped = Swapped::new(&mut this.stack);
        this.future.as_mut().poll(context)
    }
}

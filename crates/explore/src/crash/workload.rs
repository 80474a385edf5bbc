//! Workloads: a few operations, each by a thread that has a lane of its own.

use super::operations;

/// A sequence of operations, one of which may be stopped in the middle while the others run.
///
/// In a sequence without a stopped operation crashes are explored in the last operation; those
/// before it are explored as the last ones of shorter workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The operation that is stopped, and at which of its fences, counted from 1.
    pub(crate) stopped: Option<(Step, u32)>,
    /// The operations one after the other.
    pub(crate) steps: Vec<Step>,
}

/// An operation, and the number of the thread that does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub name: &'static str,
    pub lane: usize,
}

/// Making a pool, instead of an operation on one.
const FORMAT: &str = "format";

impl Step {
    fn named(text: &str) -> Option<Step> {
        let (name, lane) = text.split_once('.').unwrap_or((text, "0"));
        let lane = lane.parse().ok().filter(|lane| *lane < 16)?;
        let name = if name == FORMAT { FORMAT } else { operations::named(name)?.name };
        Some(Step { name, lane })
    }

    fn text(&self) -> String {
        match self.lane {
            0 => self.name.to_string(),
            lane => format!("{}.{lane}", self.name),
        }
    }

    pub fn operation(&self) -> &'static operations::Operation {
        operations::named(self.name).expect("names are checked when the step is made")
    }
}

impl Workload {
    /// The workload of a name: operations joined by `+`, each with `.` and the thread's number if
    /// that is not 0. Before them can stand an operation that is stopped while they run: its name,
    /// `~`, the number of the fence it is stopped at, and `|`.
    pub fn named(text: &str) -> Option<Workload> {
        let (stopped, steps) = match text.split_once('|') {
            Some((stopped, steps)) => {
                let (step, fence) = stopped.split_once('~')?;
                (Some((Step::named(step)?, fence.parse().ok()?)), steps)
            }
            None => (None, text),
        };
        let steps = steps.split('+').map(Step::named).collect::<Option<Vec<Step>>>()?;
        let mut all = steps.iter().chain(stopped.iter().map(|(step, _)| step));
        let alone = stopped.is_none() && steps.len() == 1;
        (alone || all.all(|step| step.name != FORMAT)).then_some(Workload { stopped, steps })
    }

    /// The name, as [`named`](Workload::named) takes it.
    pub fn name(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(Step::text).collect();
        match &self.stopped {
            Some((step, fence)) => format!("{}~{fence}|{}", step.text(), steps.join("+")),
            None => steps.join("+"),
        }
    }

    /// True if it makes a pool on a medium without one.
    pub(crate) fn makes_pool(&self) -> bool {
        self.steps[0].name == FORMAT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["format", "create", "create.1+unlink", "chmod.2~1|create+mkdir.3"] {
            assert_eq!(Workload::named(name).expect(name).name(), name);
        }
        for wrong in
            ["", "made-up", "create.16", "create+format", "chmod|create", "create~x|rename"]
        {
            assert_eq!(Workload::named(wrong), None, "{wrong}");
        }
    }
}

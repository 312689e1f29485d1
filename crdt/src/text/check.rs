//! Every invariant of the whole structure, for tests.

use super::Text;
use super::content::Extra;
use super::leaf::{HEAD, LENGTH, NONE};
use super::limits::MAX_SPAN_CHARS;
use super::log::Deed;
use super::tree::Tree;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

pub(super) fn check(text: &Text) -> Result<(), String> {
    let order = leaves_in_order(&text.tree)?;
    leaves(text, &order)?;
    counts(text)?;
    deaths(text)?;
    log(text)
}

/// The leaves by the tree, which must be those by `next`.
fn leaves_in_order(tree: &Tree) -> Result<Vec<u32>, String> {
    let mut level = vec![tree.root];
    ensure(tree.inners[tree.root as usize].parent == NONE, || {
        "the root has a parent".into()
    })?;
    for depth in (0..tree.height).rev() {
        let mut below = Vec::new();
        for node in level {
            let inner = &tree.inners[node as usize];
            ensure(inner.count > 0, || format!("inner {node} is empty"))?;
            for slot in 0..inner.count as usize {
                let child = inner.child[slot];
                ensure(tree.parent(child, depth) == node, || {
                    format!("{child} at {depth} does not know its parent {node}")
                })?;
                below.push(child);
            }
        }
        level = below;
    }
    ensure(level.len() == tree.leaves.len(), || {
        "leaves are lost".into()
    })?;
    let (mut at, mut previous) = (tree.begin().leaf, NONE);
    for leaf in &level {
        ensure(at == *leaf, || format!("leaf {leaf} is not next"))?;
        ensure(tree.leaves[at as usize].prev == previous, || {
            format!("leaf {leaf} looks back wrongly")
        })?;
        previous = at;
        at = tree.leaves[at as usize].next;
    }
    ensure(at == NONE, || "leaves go on".into())?;
    Ok(level)
}

/// Every character stands in one place, its leaf is known, and spans keep to one run of origins.
fn leaves(text: &Text, order: &[u32]) -> Result<(), String> {
    let chars = text.log.chars as usize;
    let mut seen = vec![false; chars];
    ensure(text.tree.places.chars() as usize == chars, || {
        "places has another length".into()
    })?;
    let mut heads = vec![false; chars];
    for origin in &text.origins.runs {
        heads[origin.n as usize] = true;
    }
    for &at in order {
        let leaf = &text.tree.leaves[at as usize];
        ensure(leaf.count > 0 || chars == 0, || {
            format!("leaf {at} is empty")
        })?;
        for index in 0..leaf.len.len() {
            let span = leaf.span(index);
            if index >= leaf.count as usize {
                ensure(span.len == 0, || format!("leaf {at} has a ghost"))?;
                continue;
            }
            let len = span.chars();
            ensure(len > 0 && len <= MAX_SPAN_CHARS, || {
                format!("a span of {len}")
            })?;
            ensure((span.len & HEAD != 0) == heads[span.first as usize], || {
                format!("the span of {} has a wrong head", span.first)
            })?;
            for n in span.first..span.first + len {
                ensure(!seen[n as usize], || format!("{n} stands twice"))?;
                seen[n as usize] = true;
                ensure(text.tree.places.of(n) == at, || format!("{n} is in {at}"))?;
                ensure(n == span.first || !heads[n as usize], || {
                    format!("the span of {} hides a head", span.first)
                })?;
            }
        }
        let mut recounted = leaf.clone();
        recounted.recount();
        ensure(recounted.live == leaf.live, || {
            format!("leaf {at} counts {}", leaf.live)
        })?;
        ensure(leaf.born <= recounted.born, || {
            format!("leaf {at} was born before")
        })?;
        let depth = text.leaf_depth(at);
        ensure(depth.least(leaf.depth) == leaf.depth, || {
            format!("leaf {at} has {depth:?}, which is above {:?}", leaf.depth)
        })?;
        if let Some(extras) = &text.tree.extras {
            let extra = text.tree.leaf_extra(at, &text.content);
            ensure(extra == extras.leaf[at as usize], || {
                format!("leaf {at}: {extra:?}")
            })?;
        }
    }
    ensure(seen.iter().all(|seen| *seen), || {
        "a character is lost".into()
    })
}

/// Counts above are the sums below, but for what is pending.
fn counts(text: &Text) -> Result<(), String> {
    let mut flushed = text.tree.clone();
    flushed.flush();
    let mut level: Vec<(u32, u32)> = vec![(flushed.root, flushed.height)];
    while let Some((node, height)) = level.pop() {
        if height == 0 {
            continue;
        }
        let inner = &flushed.inners[node as usize];
        for slot in 0..inner.count as usize {
            let child = inner.child[slot];
            let below = flushed.sum(child, height - 1);
            let above = flushed.slot_sum(node, slot);
            ensure(above.live == below.live, || {
                format!(
                    "{child} has {} live, its parent says {}",
                    below.live, above.live
                )
            })?;
            ensure(above.born <= below.born && above.died >= below.died, || {
                format!(
                    "{child} lived {}..{}, its parent says {}..{}",
                    below.born, below.died, above.born, above.died
                )
            })?;
            ensure(above.depth == below.depth, || {
                format!(
                    "{child} has {:?}, its parent says {:?}",
                    below.depth, above.depth
                )
            })?;
            ensure(above.extra == below.extra, || {
                format!("{child} has {:?}", below.extra)
            })?;
            level.push((child, height - 1));
        }
    }
    let total = flushed.sum(flushed.root, flushed.height);
    ensure(total.live == flushed.live, || {
        format!("{} live in all", flushed.live)
    })?;
    if let Some(extras) = &flushed.extras {
        ensure(extras.total == total.extra, || "extras in all".into())?;
        ensure(extras.pend == Extra::default(), || "extras pend".into())?;
    }
    Ok(())
}

/// Every death is the tick that the log says it is.
fn deaths(text: &Text) -> Result<(), String> {
    for span in text.tree.spans().filter(|span| span.is_dead()) {
        for offset in 0..span.len & LENGTH {
            let at = span.died(offset);
            ensure(at < text.log.now, || {
                format!("{} dies at {at}", span.first + offset)
            })?;
            let run = text.log.runs[text.log.run_of_moment(at)];
            let target = match run.deed() {
                Deed::Delete => run.target + (at - run.at),
                Deed::DeleteBack => run.target - (at - run.at),
                Deed::Insert | Deed::Void => NONE,
            };
            ensure(target == span.first + offset, || {
                format!(
                    "{} died at {at}, which killed {target}",
                    span.first + offset
                )
            })?;
        }
    }
    Ok(())
}

fn log(text: &Text) -> Result<(), String> {
    let log = &text.log;
    ensure(
        log.chars as usize == text.content.as_str().chars().count(),
        || "content".into(),
    )?;
    let mut clocks = vec![0; log.authors.len()];
    let (mut now, mut chars) = (0, 0);
    for place in 0..log.runs.len() {
        let run = log.runs[place];
        let author = run.client() as usize;
        let len = log.len(place);
        ensure(len > 0 && run.at == now && run.n == chars, || {
            format!("run {place}: {run:?}")
        })?;
        ensure(run.clock == clocks[author], || {
            format!("run {place} of {author}")
        })?;
        for tick in [run.clock, run.clock + len - 1] {
            ensure(log.run_of_tick(author as u32, tick) == place, || {
                format!("tick {tick} of run {place}")
            })?;
        }
        clocks[author] += len;
        now += len;
        if run.deed() == Deed::Insert {
            chars += len;
        }
    }
    ensure(now == log.now && chars == log.chars, || {
        "the log's totals".into()
    })?;
    for (author, clock) in log.authors.iter().zip(clocks) {
        ensure(author.clock == clock, || {
            format!("clock of {:?}", author.client)
        })?;
    }
    Ok(())
}

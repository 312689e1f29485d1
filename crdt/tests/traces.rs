//! Every recorded trace ends in its published text: locally, remotely, loaded, from both sides.

mod support;

use crdt::text::{Client, History, Measure, Seq, Text, Version};
use support::trace::{Trace, all};

fn edit(text: &mut Text, patches: &[(usize, usize, String)]) -> Vec<u8> {
    let from = text.version().get(text.client());
    for (at, len, new) in patches {
        text.replace(Measure::Chars, *at, *len, new)
            .expect("an edit");
    }
    let to = text.version().get(text.client());
    let client = text.client();
    text.encode(&crdt::text::Update { client, from, to })
}

#[test]
fn traces_end_in_their_published_text() {
    for trace in all().iter().filter(|trace| !trace.is_concurrent()) {
        let mut local = Text::new(Client::new(7));
        let mut remote = Text::new(Client::new(8));
        if !trace.start_content.is_empty() {
            local
                .insert(Measure::Chars, 0, &trace.start_content)
                .expect("an edit");
            let whole = local.diff(&Version::new());
            remote
                .apply(&whole, Some(Seq::new(1)))
                .expect("a good update");
        }
        let mut seq = remote.known_until().get();
        for transaction in &trace.txns {
            let update = edit(&mut local, &transaction.patches);
            seq += 1;
            remote
                .apply(&update, Some(Seq::new(seq)))
                .expect("a good update");
        }
        let end = &trace.end_content;
        assert_eq!(&local.to_string(), end, "{} locally", trace.name);
        assert_eq!(&remote.to_string(), end, "{} remotely", trace.name);
        local.check().expect("a sound tree");
        remote.check().expect("a sound tree");
        let loaded =
            Text::load(Client::new(9), &remote.snapshot(History::With)).expect("a snapshot");
        loaded.check().expect("a sound tree");
        assert_eq!(&loaded.to_string(), end, "{} loaded", trace.name);
        assert_eq!(&loaded.at(Seq::new(seq)).expect("known"), end);
        let mut caught_up = Text::new(Client::new(9));
        caught_up
            .apply(&local.diff(&Version::new()), None)
            .expect("a difference");
        assert_eq!(&caught_up.to_string(), end, "{} in one update", trace.name);
    }
}

#[test]
fn concurrent_traces_converge_from_both_sides() {
    for trace in all().iter().filter(|trace| trace.is_concurrent()) {
        let (peers, updates) = replay(trace);
        for peer in &peers {
            assert_eq!(peer.to_string(), trace.end_content, "{}", trace.name);
            peer.check().expect("a sound tree");
        }
        for backwards in [false, true] {
            // Each prefers one side's updates as far as causality allows.
            let mut other = Text::new(Client::new(1 << 40));
            let mut rest: Vec<&(usize, Vec<u8>)> = updates.iter().collect();
            rest.sort_by_key(|(agent, _)| {
                if backwards {
                    usize::MAX - agent
                } else {
                    *agent
                }
            });
            for batch in rest.chunks(1000) {
                for (_, update) in batch {
                    if other.apply(update, None).is_err() {
                        // Too many wait: the rest comes again below.
                        break;
                    }
                }
            }
            for (_, update) in &updates {
                other.apply(update, None).expect("a good update");
            }
            assert_eq!(other.to_string(), trace.end_content, "{}", trace.name);
            other.check().expect("a sound tree");
        }
    }
}

/// Lets each agent make its transactions on what their parents give.
fn replay(trace: &Trace) -> (Vec<Text>, Vec<(usize, Vec<u8>)>) {
    let agents = trace.num_agents;
    let mut peers: Vec<Text> = (0..agents as u64)
        .map(|agent| Text::new(Client::new(agent)))
        .collect();
    // Up to which transaction of each agent each transaction has seen, and each peer has.
    let mut seen: Vec<Vec<usize>> = Vec::new();
    let mut has = vec![vec![0; agents]; agents];
    let mut updates: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut of_agent: Vec<Vec<usize>> = vec![Vec::new(); agents];
    for (at, transaction) in trace.txns.iter().enumerate() {
        let agent = transaction.agent as usize;
        let mut saw = vec![0; agents];
        for parent in &transaction.parents {
            for (mine, theirs) in saw.iter_mut().zip(&seen[*parent]) {
                *mine = (*mine).max(*theirs);
            }
        }
        let mut lacks: Vec<usize> = (0..agents)
            .flat_map(|other| {
                of_agent[other][has[agent][other].min(saw[other])..saw[other]]
                    .iter()
                    .copied()
            })
            .collect();
        lacks.sort_unstable();
        for lack in lacks {
            let update: &(usize, Vec<u8>) = &updates[lack];
            peers[agent].apply(&update.1, None).expect("a good update");
        }
        for (have, saw) in has[agent].iter_mut().zip(&saw) {
            *have = (*have).max(*saw);
        }
        updates.push((agent, edit(&mut peers[agent], &transaction.patches)));
        of_agent[agent].push(at);
        saw[agent] = of_agent[agent].len();
        has[agent][agent] = saw[agent];
        seen.push(saw);
    }
    for peer in &mut peers {
        for (_, update) in &updates {
            peer.apply(update, None).expect("a good update");
        }
    }
    (peers, updates)
}

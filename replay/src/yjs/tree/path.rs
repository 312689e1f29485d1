//! Where an item stands, in words: `strokes[3].image`.

use super::super::binary::{push_index, push_key};
use super::super::scan::Id;
use super::{NONE, Tree};
use crate::yjs::scan::kind;

impl Tree {
    /// The path to what has an id: roots and keys by name, places in lists by index. `None` if that is
    /// not in the tree or not shown.
    pub(in crate::yjs) fn path(&self, id: Id) -> Option<String> {
        let client = self.clients.binary_search_by_key(&id.client, |it| it.id);
        let client = client.ok()?;
        if id.clock >= self.clients[client].known {
            return None;
        }
        let number = self.item_at(client as u32, id.clock);
        let mut at = number;
        let mut within = id.clock - self.items.get(at as usize)?.clock;
        let mut steps = Vec::new();
        // Each type stands in one that is nearer to a root.
        loop {
            let item = self.items.get(at as usize).filter(|item| item.is_alive())?;
            let list = self.lists.get(item.list as usize)?;
            steps.push(match list.key {
                Some(key) => Err(self.str(key)),
                None => Ok(self.units_before(item.list, at) + within as usize),
            });
            let parent = self.types.get(list.parent as usize)?;
            if parent.item == NONE {
                let root = self.roots.iter().find(|(_, it)| **it == list.parent)?.0;
                let mut path = root.to_string();
                for step in steps.iter().rev() {
                    match step {
                        Ok(index) => push_index(&mut path, *index),
                        Err(key) => push_key(&mut path, key.as_bytes()),
                    }
                }
                return Some(path);
            }
            at = parent.item;
            within = 0;
        }
    }

    /// How many values or UTF-16 units a list shows before one of its items.
    fn units_before(&self, list: u32, item: u32) -> usize {
        let before = self.items_of(list).take_while(|(at, _)| *at != item);
        let shown = before.filter(|(_, it)| it.is_alive() && it.kind != kind::FORMAT);
        shown.map(|(_, it)| it.len as usize).sum()
    }
}

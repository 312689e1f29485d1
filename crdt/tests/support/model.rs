//! A replica that is obviously right: a plain list of characters, with the same rule.

/// Client and tick.
pub type Name = (u64, u32);

/// One character.
#[derive(Clone, Debug)]
pub struct Item {
    pub name: Name,
    pub left: Option<Name>,
    pub right: Option<Name>,
    pub character: char,
    pub dead: bool,
}

/// One tick.
#[derive(Clone, Debug)]
pub enum Tick {
    Insert {
        left: Option<Name>,
        right: Option<Name>,
        character: char,
    },
    Delete(Name),
}

/// One update: ticks of a client from `clock` on.
#[derive(Clone, Debug)]
pub struct Change {
    pub client: u64,
    pub clock: u32,
    pub ticks: Vec<Tick>,
}

/// A replica.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub client: u64,
    pub list: Vec<Item>,
    pub clocks: std::collections::BTreeMap<u64, u32>,
    waiting: Vec<Change>,
}

impl Model {
    pub fn new(client: u64) -> Self {
        Self {
            client,
            ..Self::default()
        }
    }

    pub fn text(&self) -> String {
        self.list
            .iter()
            .filter(|item| !item.dead)
            .map(|item| item.character)
            .collect()
    }

    pub fn len(&self) -> usize {
        self.list.iter().filter(|item| !item.dead).count()
    }

    fn clock(&self, client: u64) -> u32 {
        self.clocks.get(&client).copied().unwrap_or(0)
    }

    /// The place in the list of the visible character number `at`.
    fn visible(&self, at: usize) -> usize {
        let mut places = (0..self.list.len()).filter(|place| !self.list[*place].dead);
        places.nth(at).expect("a visible character")
    }

    pub fn insert(&mut self, at: usize, text: &str) -> Change {
        let clock = self.clock(self.client);
        let mut place = if at == 0 { 0 } else { self.visible(at - 1) + 1 };
        let mut left = place.checked_sub(1).map(|before| self.list[before].name);
        let right = self.list.get(place).map(|item| item.name);
        let mut ticks = Vec::new();
        for character in text.chars() {
            let name = (self.client, self.clock(self.client));
            self.list.insert(
                place,
                Item {
                    name,
                    left,
                    right,
                    character,
                    dead: false,
                },
            );
            ticks.push(Tick::Insert {
                left,
                right,
                character,
            });
            *self.clocks.entry(self.client).or_default() += 1;
            left = Some(name);
            place += 1;
        }
        Change {
            client: self.client,
            clock,
            ticks,
        }
    }

    pub fn delete(&mut self, at: usize, len: usize) -> Change {
        let clock = self.clock(self.client);
        let mut ticks = Vec::new();
        for _ in 0..len {
            let place = self.visible(at);
            self.list[place].dead = true;
            ticks.push(Tick::Delete(self.list[place].name));
            *self.clocks.entry(self.client).or_default() += 1;
        }
        Change {
            client: self.client,
            clock,
            ticks,
        }
    }

    /// Applies a change, and whatever waited for it, once what they build on is here.
    pub fn apply(&mut self, change: &Change) {
        self.waiting.push(change.clone());
        while let Some(at) = (0..self.waiting.len()).find(|at| self.is_ready(&self.waiting[*at])) {
            let change = self.waiting.swap_remove(at);
            self.integrate(&change);
        }
    }

    fn place(&self, name: Option<Name>) -> Option<usize> {
        let name = name?;
        self.list.iter().position(|item| item.name == name)
    }

    fn is_ready(&self, change: &Change) -> bool {
        if self.clock(change.client) < change.clock {
            return false;
        }
        let here = |name: Name| {
            (name.0 == change.client && name.1 >= change.clock) || self.place(Some(name)).is_some()
        };
        change.ticks.iter().all(|tick| match tick {
            Tick::Insert { left, right, .. } => left.is_none_or(here) && right.is_none_or(here),
            Tick::Delete(name) => here(*name),
        })
    }

    fn integrate(&mut self, change: &Change) {
        for (offset, tick) in change.ticks.iter().enumerate() {
            let clock = change.clock + offset as u32;
            if clock < self.clock(change.client) {
                continue;
            }
            match tick {
                Tick::Insert {
                    left,
                    right,
                    character,
                } => self.weave(Item {
                    name: (change.client, clock),
                    left: *left,
                    right: *right,
                    character: *character,
                    dead: false,
                }),
                Tick::Delete(name) => {
                    let place = self.place(Some(*name)).expect("it is ready");
                    self.list[place].dead = true;
                }
            }
            self.clocks.insert(change.client, clock + 1);
        }
    }

    /// The order by the tree of the paper instead of by the scan: a character is a left child of its
    /// right origin if that has the same left origin, else a right child of its left origin;
    /// siblings stand by name, and the tree is walked left children first, then right ones.
    pub fn tree_order(&self) -> Vec<Name> {
        use std::collections::{BTreeMap, BTreeSet};
        type Children = BTreeMap<Option<Name>, BTreeSet<Name>>;
        let (mut left, mut right) = (Children::new(), Children::new());
        for item in &self.list {
            let is_left = item.right.is_some_and(|right| {
                let place = self.place(Some(right)).expect("it is here");
                self.list[place].left == item.left
            });
            let (children, parent) = if is_left {
                (&mut left, item.right)
            } else {
                (&mut right, item.left)
            };
            children.entry(parent).or_default().insert(item.name);
        }
        // What is still to come, the next at the end; a name alone stands for itself.
        let none = BTreeSet::new();
        let children = |of: &Children, parent| of.get(&parent).unwrap_or(&none).clone();
        let mut stack: Vec<(Name, bool)> = Vec::new();
        for child in children(&right, None).into_iter().rev() {
            stack.push((child, true));
        }
        let mut order = Vec::new();
        while let Some((name, whole)) = stack.pop() {
            if !whole {
                order.push(name);
                continue;
            }
            for child in children(&right, Some(name)).into_iter().rev() {
                stack.push((child, true));
            }
            stack.push((name, false));
            for child in children(&left, Some(name)).into_iter().rev() {
                stack.push((child, true));
            }
        }
        order
    }

    /// Where the right parent stands: the right origin if that has the same left origin, else the
    /// end.
    fn right_parent(&self, left: Option<Name>, right: Option<Name>) -> usize {
        match self.place(right) {
            Some(place) if self.list[place].left == left => place,
            _ => self.list.len(),
        }
    }

    /// The rule, literally.
    fn weave(&mut self, item: Item) {
        let after = |place: Option<usize>| place.map_or(0, |place| place + 1);
        let left = after(self.place(item.left));
        let right = self.place(item.right).unwrap_or(self.list.len());
        let parent = self.right_parent(item.left, item.right);
        let mut goal = left;
        let mut undecided = false;
        for place in left..right {
            let other = &self.list[place];
            let other_left = after(self.place(other.left));
            if other_left < left {
                break;
            }
            if other_left == left {
                let other_parent = self.right_parent(other.left, other.right);
                if other_parent == parent {
                    if item.name < other.name {
                        break;
                    }
                    undecided = false;
                } else {
                    undecided = other_parent < parent;
                }
            }
            if !undecided {
                goal = place + 1;
            }
        }
        self.list.insert(goal, item);
    }
}

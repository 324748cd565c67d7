//! What is changed is found, and the collection's state has another name from then on.

use crate::sides::{Kind, world};
use crate::{ALL_MODES, animals, given};

pub(crate) async fn a_change_is_found_and_named(side: Kind) {
    for rules in ALL_MODES {
        let world = world(side, rules, &animals()).await;
        let mut name = world.snapshot_after(None).await;
        let mut passages = animals();
        let mut changed = async |passages: &[_]| {
            world.replace(passages).await;
            let new = world.snapshot_after(Some(&name)).await;
            name = new;
        };
        passages.push(given("okapi", "The zebra's cousin: a zebra of zebras, zebra by zebra."));
        changed(&passages).await;
        assert!(world.locations("zebra cousin", 2).await.contains(&"okapi".to_owned()), "added");
        passages.pop();
        changed(&passages).await;
        assert!(!world.locations("zebra cousin", 4).await.contains(&"okapi".to_owned()), "removed");
        passages[1] = given("moved", "Zebras live in herds and eat grass.");
        changed(&passages).await;
        assert_eq!(world.locations("zebras herds", 1).await, ["moved"], "its metadata changed");
    }
}

pub(crate) async fn without_a_change_the_name_stays(side: Kind) {
    for rules in ALL_MODES {
        let world = world(side, rules, &animals()).await;
        let name = world.snapshot_after(None).await;
        for _ in 0..3 {
            world.locations("zebras", 4).await;
            assert_eq!(world.snapshot_after(None).await, name);
        }
    }
}

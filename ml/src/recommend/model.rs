use super::batch::RecommenderParams;
use crate::error::data;
use crate::model::{ModelFile, Persist, Stage};
use crate::pipeline::single_stage;
use crate::{Error, Result};
use hashbrown::{HashMap, HashSet};
use std::path::Path;

/// Of each item of the primary kind, the items of a kind of interaction that point to it, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct Indicators {
    kind: String,
    items: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Of primary item `p` from `offsets[p]` to `offsets[p + 1]`.
    offsets: Vec<u64>,
    others: Vec<u32>,
    ratios: Vec<f64>,
    /// The other way round: of each of its items the primary ones that it points to.
    points_to: Vec<Vec<(u32, f64)>>,
}

impl Indicators {
    pub(super) fn new(kind: String, items: Vec<String>, rows: Vec<Vec<(u32, f64)>>) -> Self {
        let mut offsets = vec![0];
        let (mut others, mut ratios) = (Vec::new(), Vec::new());
        for row in rows {
            others.extend(row.iter().map(|r| r.0));
            ratios.extend(row.iter().map(|r| r.1));
            offsets.push(others.len() as u64);
        }
        Self::from_parts(kind, items, offsets, others, ratios)
    }

    fn from_parts(kind: String, items: Vec<String>, offsets: Vec<u64>, others: Vec<u32>, ratios: Vec<f64>) -> Self {
        let numbers = items.iter().enumerate().map(|(i, name)| (name.clone(), i as u32)).collect();
        let mut points_to = vec![Vec::new(); items.len()];
        for primary in 0..offsets.len().saturating_sub(1) {
            for at in offsets[primary] as usize..offsets[primary + 1] as usize {
                points_to[others[at] as usize].push((primary as u32, ratios[at]));
            }
        }
        Self { kind, items, numbers, offsets, others, ratios, points_to }
    }

    /// The kind of interaction.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Names of its items, by number.
    pub fn items(&self) -> &[String] {
        &self.items
    }

    /// Numbers of the items that point to a primary one, with their log-likelihood ratios; the strongest first.
    pub fn of(&self, primary: usize) -> impl Iterator<Item = (u32, f64)> {
        let ends = |i: usize| self.offsets.get(i).map_or(self.others.len(), |o| *o as usize);
        let range = ends(primary)..ends(primary + 1);
        self.others[range.clone()].iter().copied().zip(self.ratios[range].iter().copied())
    }
}

/// An item that is recommended.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Recommendation {
    /// The item.
    pub item: String,
    /// Sum of the ratios of what points to it.
    pub score: f64,
}

/// What points to what: made by [`train`](crate::train).
#[derive(Clone, Debug, PartialEq)]
pub struct Recommender {
    items: Vec<String>,
    counts: Vec<u64>,
    indicators: Vec<Indicators>,
    params: RecommenderParams,
}

impl Recommender {
    pub(super) fn new(
        items: Vec<String>,
        counts: Vec<u64>,
        indicators: Vec<Indicators>,
        params: RecommenderParams,
    ) -> Result<Self> {
        if indicators.is_empty() || items.len() != counts.len() {
            return data(format!("a recommender of {} items with {} counts", items.len(), counts.len()));
        }
        Ok(Self { items, counts, indicators, params })
    }

    /// Indicators of each kind of interaction, the primary one first.
    pub fn indicators(&self) -> &[Indicators] {
        &self.indicators
    }

    /// The primary items, by number.
    pub fn items(&self) -> &[String] {
        &self.items
    }

    /// How many users have each primary item.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The `top` items for a user with this history: the items of each kind of interaction, in the order of
    /// [`Recommender::indicators`]; kinds may be left out at the end. Items of the primary history are not recommended, items that are not
    /// known count nothing. Where nothing points anywhere there are no recommendations.
    pub fn recommend<S: AsRef<str>>(&self, history: &[&[S]], top: usize) -> Vec<Recommendation> {
        let mut scores: HashMap<u32, f64> = HashMap::new();
        for (kind, items) in self.indicators.iter().zip(history) {
            // Interactions count once.
            let known: HashSet<u32> = items.iter().filter_map(|i| kind.numbers.get(i.as_ref()).copied()).collect();
            for item in known {
                kind.points_to[item as usize].iter().for_each(|(primary, ratio)| *scores.entry(*primary).or_default() += ratio);
            }
        }
        let own = history.first().into_iter().flat_map(|items| items.iter());
        for item in own.filter_map(|i| self.indicators[0].numbers.get(i.as_ref())) {
            scores.remove(item);
        }
        let mut ranked: Vec<(u32, f64)> = scores.into_iter().collect();
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.truncate(top);
        ranked.into_iter().map(|(item, score)| Recommendation { item: self.items[item as usize].clone(), score }).collect()
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = single_stage(self);
        file.training.algorithm = Self::KIND.to_owned();
        file.schema.features = self.indicators.iter().map(|i| i.kind.clone()).collect();
        file.write(path)
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// The file cannot be read, is wrong, or holds another model.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |message: String| Error::Model { path: path.to_owned(), message };
        match ModelFile::read(path)?.stages.as_slice() {
            [stage] if stage.kind == Self::KIND => Self::from_stage(stage).map_err(|e| wrong(e.to_string())),
            stages => {
                let kinds: Vec<&str> = stages.iter().map(|s| s.kind.as_str()).collect();
                Err(wrong(format!("holds {}, expected a recommender", kinds.join(", "))))
            }
        }
    }
}

impl Persist for Recommender {
    const KIND: &'static str = "recommender";

    fn to_stage(&self) -> Stage {
        let kinds: Vec<&str> = self.indicators.iter().map(|i| i.kind.as_str()).collect();
        let mut stage = Stage::new(Self::KIND, &(&self.params, kinds));
        stage.texts("items", self.items.clone());
        stage.counts("counts", self.counts.clone());
        for (i, kind) in self.indicators.iter().enumerate() {
            if i > 0 {
                stage.texts(&format!("items.{i}"), kind.items.clone());
            }
            stage.counts(&format!("offsets.{i}"), kind.offsets.clone());
            stage.counts(&format!("others.{i}"), kind.others.iter().map(|o| u64::from(*o)).collect());
            stage.numbers(&format!("ratios.{i}"), kind.ratios.clone());
        }
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        if stage.version != 1 {
            return Err(stage.wrong(format!("version {}, expected 1", stage.version)));
        }
        let (params, kinds): (RecommenderParams, Vec<String>) = stage.parameters()?;
        let items = stage.get_texts("items")?.to_vec();
        let mut indicators = Vec::new();
        for (i, kind) in kinds.into_iter().enumerate() {
            let own = if i == 0 { items.clone() } else { stage.get_texts(&format!("items.{i}"))?.to_vec() };
            let offsets = stage.get_counts(&format!("offsets.{i}"))?.to_vec();
            let others = stage.get_counts(&format!("others.{i}"))?;
            let ratios = stage.get_numbers(&format!("ratios.{i}"))?.to_vec();
            let ordered = offsets.len() == items.len() + 1 && offsets[0] == 0 && offsets.is_sorted();
            let whole = offsets.last() == Some(&(others.len() as u64)) && ratios.len() == others.len();
            if !ordered || !whole || others.iter().any(|o| *o >= own.len() as u64) {
                return Err(stage.wrong(format!("the indicators of `{kind}` do not fit its items")));
            }
            let others = others.iter().map(|o| *o as u32).collect();
            indicators.push(Indicators::from_parts(kind, own, offsets, others, ratios));
        }
        Self::new(items, stage.get_counts("counts")?.to_vec(), indicators, params).map_err(|e| stage.wrong(e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Interactions, train};
    use super::*;

    fn recommender() -> Recommender {
        let (mut bought, mut seen) = (Interactions::default(), Interactions::default());
        for user in 0..300u32 {
            let set = user % 3;
            (0..4).filter(|n| (user + n) % 4 != 0).for_each(|n| bought.add(user, &format!("{set}-{n}")));
            seen.add(user, &format!("page {set}"));
        }
        train(vec![("bought".into(), bought), ("seen".into(), seen)], 300, &RecommenderParams::default(), 1).unwrap()
    }

    #[test]
    fn scores_are_sums_of_what_points_there() {
        let model = recommender();
        let found = model.recommend(&[&["1-0", "1-1"], &["page 1"]], 10);
        let items: Vec<&str> = found.iter().map(|r| r.item.as_str()).collect();
        assert_eq!(items.len(), 2, "its own set, without its history: {found:?}");
        assert!(items.contains(&"1-2") && items.contains(&"1-3"));
        let item = model.items().iter().position(|i| *i == found[0].item).unwrap();
        let from = |kind: usize, names: &[&str]| -> f64 {
            let indicators = &model.indicators()[kind];
            indicators.of(item).filter(|(o, _)| names.contains(&indicators.items()[*o as usize].as_str())).map(|(_, r)| r).sum()
        };
        let expected = from(0, &["1-0", "1-1"]) + from(1, &["page 1"]);
        assert!((found[0].score - expected).abs() < 1e-9);
        assert_eq!(model.recommend(&[&["1-0", "1-0", "1-1"], &["page 1"]], 10), found, "interactions count once");
        assert!(model.recommend(&[&["unknown"]], 10).is_empty());
        let none: &[&str] = &[];
        assert_eq!(model.recommend(&[none, &["page 2"]], 3).len(), 3, "a new user by another kind of history");
    }

    #[test]
    fn it_is_stored_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.model");
        recommender().save(&path).unwrap();
        assert_eq!(Recommender::load(&path).unwrap(), recommender());
        crate::ModelFile { stages: vec![Stage::new("linear", &())], ..Default::default() }.write(&path).unwrap();
        assert!(Recommender::load(&path).unwrap_err().to_string().contains("holds linear, expected a recommender"));
    }
}

use super::transform::{Estimator, Transform, Transformer};
use crate::Result;
use crate::data::{Column, Frame};
use crate::error::data;
use crate::model::{Persist, Stage};
use crate::vector::{Rows, SparseRows};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use xxhash_rust::xxh3::xxh3_64;

/// The words of a text: runs of letters and digits, in lower case.
///
/// ```
/// let words: Vec<String> = fluvial_ml::words("Wind & Wetter, 2x").collect();
/// assert_eq!(words, ["wind", "wetter", "2x"]);
/// ```
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase)
}

/// The hashing trick (Weinberger et al. 2009): counts of words at places that follow from their hash, with a sign that follows from it
/// too, so that words that meet at a place cancel out rather than add up. Nothing to learn, nothing to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashingTrick {
    column: String,
    output: String,
    width: usize,
}

impl HashingTrick {
    /// Of a column of texts, into sparse vectors of this width.
    ///
    /// # Errors
    /// A width of 0, or one beyond 2^31.
    pub fn of(column: &str, output: &str, width: usize) -> Result<Self> {
        if width == 0 || width > 1 << 31 {
            return data(format!("hashing: a width of {width}, expected 1 to 2^31"));
        }
        Ok(Self { column: column.to_owned(), output: output.to_owned(), width })
    }

    fn place(&self, word: &str) -> (u32, f64) {
        let hash = xxh3_64(word.as_bytes());
        ((hash % self.width as u64) as u32, if hash >> 63 == 0 { 1.0 } else { -1.0 })
    }
}

impl Transformer for HashingTrick {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        let mut rows = SparseRows::new(self.width);
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for text in frame.texts(&self.column)? {
            counts.clear();
            for word in words(text.as_deref().unwrap_or("")) {
                let (place, sign) = self.place(&word);
                *counts.entry(place).or_default() += sign;
            }
            let (places, values): (Vec<u32>, Vec<f64>) = counts.iter().filter(|(_, v)| **v != 0.0).unzip();
            rows.push(&places, &values)?;
        }
        frame.set(&self.output, Column::Vectors(Rows::Sparse(rows)))
    }
}

impl Persist for HashingTrick {
    const KIND: &'static str = "hashing";

    fn to_stage(&self) -> Stage {
        Stage::new(Self::KIND, self)
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        let Self { column, output, width } = stage.parameters()?;
        Self::of(&column, &output, width).map_err(|e| stage.wrong(e))
    }
}

/// Words of texts, each weighted by how often it is there and how few texts have it: `count * (ln((1 + n) / (1 + d)) + 1)` of `n`
/// texts of which `d` have the word, rows of norm 1 (as scikit-learn has it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TfIdf {
    column: String,
    output: String,
    least_documents: u64,
    most_words: usize,
}

impl TfIdf {
    /// Of a column of texts, into sparse vectors. Words in fewer than `least_documents` texts are left out, and of the others all but
    /// the `most_words` that are in most texts.
    ///
    /// # Errors
    /// No words wanted.
    pub fn of(column: &str, output: &str, least_documents: u64, most_words: usize) -> Result<Self> {
        if most_words == 0 {
            return data("tf-idf: 0 words, expected 1 or more");
        }
        Ok(Self { column: column.to_owned(), output: output.to_owned(), least_documents, most_words })
    }
}

/// A fitted [`TfIdf`], or one that [grows](OnlineTfIdf).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TfIdfModel {
    column: String,
    output: String,
    /// Texts that were seen.
    texts: u64,
    words: Vec<String>,
    /// How many texts have each.
    documents: Vec<u64>,
    places: HashMap<String, u32>,
}

impl TfIdfModel {
    fn new((column, output, texts): (String, String, u64), words: Vec<String>, documents: Vec<u64>) -> Self {
        let places = words.iter().enumerate().map(|(i, w)| (w.clone(), i as u32)).collect();
        Self { column, output, texts, words, documents, places }
    }

    /// The words, by their places.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Places and weights of a text's words.
    fn weigh(&self, text: &str) -> (Vec<u32>, Vec<f64>) {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        words(text).filter_map(|w| self.places.get(&w)).for_each(|place| *counts.entry(*place).or_default() += 1.0);
        let weight = |place: u32| ((1 + self.texts) as f64 / (1 + self.documents[place as usize]) as f64).ln() + 1.0;
        let (places, mut weights): (Vec<u32>, Vec<f64>) = counts.into_iter().map(|(p, count)| (p, count * weight(p))).unzip();
        let norm = crate::vector::dot(&weights, &weights).sqrt();
        weights.iter_mut().for_each(|w| *w /= norm);
        (places, weights)
    }

    fn vectors(&self, frame: &mut Frame, width: usize) -> Result<()> {
        let mut rows = SparseRows::new(width);
        for text in frame.texts(&self.column)? {
            let (places, weights) = self.weigh(text.as_deref().unwrap_or(""));
            rows.push(&places, &weights)?;
        }
        frame.set(&self.output, Column::Vectors(Rows::Sparse(rows)))
    }
}

impl Estimator for TfIdf {
    fn fit(&self, parts: &[Frame]) -> Result<Transform> {
        let (mut texts, mut documents) = (0, BTreeMap::<String, u64>::new());
        for part in parts {
            for text in part.texts(&self.column)?.iter().flatten() {
                texts += 1;
                let mut seen: Vec<String> = words(text).collect();
                seen.sort_unstable();
                seen.dedup();
                seen.into_iter().for_each(|word| *documents.entry(word).or_default() += 1);
            }
        }
        let mut kept: Vec<(String, u64)> = documents.into_iter().filter(|(_, d)| *d >= self.least_documents).collect();
        kept.sort_by_key(|(_, d)| std::cmp::Reverse(*d));
        kept.truncate(self.most_words);
        kept.sort_unstable();
        let (words, documents) = kept.into_iter().unzip();
        Ok(Transform::TfIdf(TfIdfModel::new((self.column.clone(), self.output.clone(), texts), words, documents)))
    }
}

impl Transformer for TfIdfModel {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        self.vectors(frame, self.words.len())
    }
}

impl Persist for TfIdfModel {
    const KIND: &'static str = "tf-idf";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &(&self.column, &self.output, self.texts));
        stage.texts("words", self.words.clone());
        stage.counts("documents", self.documents.clone());
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        let (words, documents) = (stage.get_texts("words")?.to_vec(), stage.get_counts("documents")?.to_vec());
        if words.len() != documents.len() {
            return Err(stage.wrong(format!("{} words with {} counts", words.len(), documents.len())));
        }
        Ok(Self::new(stage.parameters()?, words, documents))
    }
}

/// TF-IDF over texts that keep coming: words that were never seen get the next place, as long as there is room, and weights follow
/// the counts. Vectors have the width of the room from the start, so that learners behind it need not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnlineTfIdf {
    model: TfIdfModel,
    room: usize,
}

impl OnlineTfIdf {
    /// Of a column of texts, into sparse vectors of width `room`.
    ///
    /// # Errors
    /// No room.
    pub fn new(column: &str, output: &str, room: usize) -> Result<Self> {
        if room == 0 || u32::try_from(room).is_err() {
            return data(format!("tf-idf: room for {room} words, expected 1 or more"));
        }
        let model = TfIdfModel::new((column.to_owned(), output.to_owned(), 0), Vec::new(), Vec::new());
        Ok(Self { model, room })
    }

    /// Counts a text's words; new ones enter.
    pub fn learn(&mut self, text: &str) {
        let TfIdfModel { texts, words: known, documents, places, .. } = &mut self.model;
        *texts += 1;
        let mut seen: Vec<String> = words(text).collect();
        seen.sort_unstable();
        seen.dedup();
        for word in seen {
            match places.get(&word) {
                Some(place) => documents[*place as usize] += 1,
                None if known.len() < self.room => {
                    places.insert(word.clone(), known.len() as u32);
                    known.push(word);
                    documents.push(1);
                }
                None => {}
            }
        }
    }

    /// As of now.
    pub fn model(&self) -> &TfIdfModel {
        &self.model
    }
}

impl Transformer for OnlineTfIdf {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        self.model.vectors(frame, self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(texts: &[&str]) -> Frame {
        let mut frame = Frame::new(texts.len());
        frame.set("t", Column::Texts(texts.iter().map(|t| Some((*t).to_owned())).collect())).unwrap();
        frame
    }

    #[test]
    fn weights_are_those_of_scikit_learn() {
        // TfidfVectorizer().fit_transform(...) over the same texts.
        let mut frame = frame(&["the cat sat", "the dog sat down", "a bird"]);
        let fitted = TfIdf::of("t", "v", 1, 100).unwrap().fit(&[frame.slice(0, 1), frame.slice(1, 3)]).unwrap();
        fitted.transform(&mut frame).unwrap();
        let Transform::TfIdf(model) = &fitted else { unreachable!() };
        let weight = |row: usize, word: &str| frame.vectors("v").unwrap().row(row).get(model.places[word] as usize);
        // ln(4/3) + 1 and ln(4/2) + 1, over their norm.
        let (common, rare) = ((4.0f64 / 3.0).ln() + 1.0, 2.0f64.ln() + 1.0);
        let norm = (2.0 * common * common + rare * rare).sqrt();
        assert!((weight(0, "the") - common / norm).abs() < 1e-12 || (weight(0, "cat") - rare / norm).abs() < 1e-12);
        assert_eq!(weight(2, "the"), 0.0);
        assert_eq!(Transform::from_stage(&fitted.to_stage()).unwrap(), fitted);
        let few = TfIdf::of("t", "v", 2, 100).unwrap().fit(std::slice::from_ref(&frame)).unwrap();
        let Transform::TfIdf(few) = few else { unreachable!() };
        assert_eq!(few.words(), ["sat", "the"]);
    }

    #[test]
    fn new_words_enter_as_long_as_there_is_room() {
        let mut online = OnlineTfIdf::new("t", "v", 4).unwrap();
        online.learn("one two");
        online.learn("two three");
        online.learn("four five six");
        assert_eq!(online.model().words().len(), 4);
        let mut frame = frame(&["two", "six", "three"]);
        online.transform(&mut frame).unwrap();
        let rows = frame.vectors("v").unwrap();
        assert_eq!((rows.width(), rows.row(0).get(1), rows.row(1).squared_norm()), (4, 1.0, 0.0));
        let batch = TfIdf::of("t", "v", 1, 100).unwrap().fit(&[super::tests::frame(&["one two", "two three"])]).unwrap();
        let mut again = OnlineTfIdf::new("t", "v", 3).unwrap();
        ["one two", "two three"].iter().for_each(|t| again.learn(t));
        let (mut a, mut b) = (frame.clone(), frame);
        batch.transform(&mut a).unwrap();
        again.transform(&mut b).unwrap();
        assert_eq!(a.vectors("v").unwrap().row(0).squared_norm(), b.vectors("v").unwrap().row(0).squared_norm());
    }

    #[test]
    fn hashes_give_places_and_signs() {
        let trick = HashingTrick::of("t", "v", 16).unwrap();
        let mut frame = frame(&["apple apple", "apple pear apple", ""]);
        trick.transform(&mut frame).unwrap();
        let (place, sign) = trick.place("apple");
        let rows = frame.vectors("v").unwrap();
        assert_eq!((rows.row(0).get(place as usize), rows.row(2).squared_norm()), (2.0 * sign, 0.0));
        assert!(HashingTrick::of("t", "v", 0).is_err());
        assert_eq!(HashingTrick::from_stage(&trick.to_stage()).unwrap(), trick);
    }
}

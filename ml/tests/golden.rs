//! A model file as it was written once is read as long as its version is: `data/linear-v1.model`.

use fluvial_ml::{LinearModel, LinearTask, Model, ModelFile, Pipeline, Schema, Training, Transform, VectorAssembler};
use std::collections::BTreeMap;
use std::path::Path;

fn pipeline() -> Pipeline {
    let model = LinearModel { task: LinearTask::Logistic, weights: vec![0.1, -2.5, 1.0 / 3.0], intercept: 1e-300 };
    let names = ["a", "b", "ü"].map(str::to_owned);
    let schema = Schema { features: names.to_vec(), label: Some("y".into()), classes: vec!["no".into(), "yes".into()] };
    let training = Training {
        algorithm: "logistic".into(),
        records: 1000,
        seconds: 0.5,
        settings: BTreeMap::from([("penalty".into(), "0.01".into())]),
        metrics: BTreeMap::from([("accuracy".into(), 0.75)]),
        created: 1_700_000_000_000,
    };
    let transform = Transform::Assembler(VectorAssembler::of(&names, "features"));
    Pipeline::new(schema, training, vec![transform], Model::Linear(model))
}

#[test]
fn the_file_of_the_first_version_is_read_and_written_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/linear-v1.model");
    let written = pipeline().to_file().to_bytes().unwrap();
    if std::env::var_os("FLUVIAL_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &written).unwrap();
    }
    assert_eq!(Pipeline::load(&path).unwrap(), pipeline());
    assert_eq!(ModelFile::read(&path).unwrap().to_bytes().unwrap(), std::fs::read(&path).unwrap());
    assert_eq!(written, std::fs::read(&path).unwrap());
}

#[test]
fn bytes_are_where_the_description_says() {
    let file = pipeline().to_file().to_bytes().unwrap();
    assert_eq!(&file[..8], b"FLVMODEL");
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    assert_eq!((file[8], &file[9..16]), (1, &[0; 7][..]));
    let header: serde_json::Value = serde_json::from_slice(&file[24..24 + word(16) as usize]).unwrap();
    assert_eq!(header["stages"][1]["arrays"][0]["name"], "weights");
    let arrays = (24 + word(16) as usize).next_multiple_of(8);
    assert_eq!(f64::from_bits(word(arrays + 8)), -2.5);
    assert_eq!(word(file.len() - 8), xxhash_rust::xxh3::xxh3_64(&file[..file.len() - 8]));
}

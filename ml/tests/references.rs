//! Learners give what scikit-learn and river give on the same data with the same settings.
//!
//! The answers are those of `python3 benches/ml_references.py --stored`, which makes the data in the same way.

use fluvial_ml::{
    Block, DenseRows, DualSvm, DualSvmParams, KMeans, KMeansParams, Loss, Model, OnlineLearner, PassiveAggressive,
    PassiveAggressiveParams, Proximal, ProximalParams, Regression, Rows, Schedule, Sgd, SgdParams, fit, fit_shared,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

const RECORDS: usize = 400;
const WIDTH: usize = 5;

/// Uniform numbers of SplitMix64 from -1 to 1, and a linear rule of them with noise.
fn data() -> (Vec<f64>, Vec<f64>) {
    let mut random = SplitMix64::seed_from_u64(42);
    let mut unit = move || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let (mut values, mut numbers) = (Vec::new(), Vec::new());
    for _ in 0..RECORDS {
        let row: Vec<f64> = (0..WIDTH).map(|_| 2.0 * unit() - 1.0).collect();
        numbers.push(1.5 * row[0] - row[1] + 0.5 * row[2] + 0.25 + 0.8 * (unit() + unit() - 1.0));
        values.extend(row);
    }
    (values, numbers)
}

fn block(width: usize, values: Vec<f64>, labels: Vec<f64>) -> Block {
    Block::new(Rows::Dense(DenseRows::from_values(width, values).unwrap()), labels).unwrap()
}

fn numbers() -> Block {
    let (values, numbers) = data();
    block(WIDTH, values, numbers)
}

fn classes() -> Block {
    let (values, numbers) = data();
    block(WIDTH, values, numbers.into_iter().map(f64::signum).collect())
}

/// The same with a feature that is always 1 in place of an intercept.
fn classes_with_one() -> Block {
    let (values, numbers) = data();
    let values = values.chunks(WIDTH).flat_map(|row| row.iter().copied().chain([1.0])).collect();
    block(WIDTH + 1, values, numbers.into_iter().map(f64::signum).collect())
}

/// Weights and intercept.
fn weights(model: Model) -> Vec<f64> {
    let Model::Linear(model) = model else { panic!("{model:?} is not linear") };
    model.weights.into_iter().chain([model.intercept]).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    let apart = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
    assert!(found.len() >= expected.len() && apart <= tolerance, "{apart} apart: {found:?}, expected {expected:?}");
}

#[test]
fn svm() {
    let params = DualSvmParams { tolerance: 1e-7, rounds: 100_000, ..DualSvmParams::default() };
    let shared = fit_shared(&DualSvm::new(params).unwrap(), &[classes()]).unwrap();
    close(&[shared.objective / 92.395_386_490_087_23], &[1.0], 1e-6);
}

#[test]
fn logistic_and_linear_regression() {
    let cases = [
        (
            0.0,
            [
                3.135_771_362_009_470_5,
                -2.144_394_031_943_139_4,
                0.585_949_552_157_948_2,
                0.165_939_561_364_851_44,
                0.135_501_039_055_171_05,
                0.522_941_852_105_468_2,
            ],
            [
                1.444_100_598_305_697_4,
                -0.995_387_575_220_753_8,
                0.450_320_107_096_970_5,
                0.066_217_709_536_254_6,
                0.035_916_652_601_034_466,
                0.248_047_760_237_251_34,
            ],
        ),
        (
            0.5,
            [
                3.571_610_204_805_927_5,
                -2.449_876_825_492_468_8,
                0.591_841_413_249_15,
                0.090_861_869_535_758_57,
                0.060_913_474_289_400_91,
                0.595_907_959_259_730_2,
            ],
            [
                1.451_156_040_971_857,
                -0.994_389_714_851_841_5,
                0.441_347_443_924_750_2,
                0.052_543_967_054_682_37,
                0.021_394_908_039_030_443,
                0.248_025_136_841_440_67,
            ],
        ),
        (
            1.0,
            [4.597_324_195_207_845, -3.212_883_789_350_922, 0.673_246_150_792_196_5, 0.0, 0.0, 0.781_443_156_161_764_3],
            [
                1.458_443_037_879_333_8,
                -0.993_325_432_566_197_9,
                0.432_069_005_321_631_34,
                0.038_466_623_395_783_31,
                0.006_430_707_233_484_915,
                0.248_001_598_663_909_42,
            ],
        ),
    ];
    for (l1_ratio, logistic, linear) in cases {
        let params = ProximalParams { penalty: 0.01, l1_ratio, tolerance: 1e-12, rounds: 20_000, ..ProximalParams::default() };
        let found = fit(&Proximal::new(Regression::Logistic, params.clone()).unwrap(), &[classes()]).unwrap();
        close(&weights(found), &logistic, 1e-5);
        let found = fit(&Proximal::new(Regression::Linear, params).unwrap(), &[numbers()]).unwrap();
        close(&weights(found), &linear, 1e-5);
    }
}

#[test]
fn kmeans() {
    let data = numbers();
    let centres: Vec<f64> = (0..4).flat_map(|i| data.rows.row(i).to_vector().row().stored().to_vec()).collect();
    let params = KMeansParams { k: 4, rounds: 1000, tolerance: 0.0, ..KMeansParams::default() };
    let found = fit(&KMeans::from_centres(params, WIDTH, centres).unwrap(), &[data]).unwrap();
    let Model::KMeans(found) = found else { panic!("{found:?}") };
    let expected = [
        [
            0.371_069_518_780_246_5,
            -0.270_726_213_585_805_4,
            -0.081_822_086_645_597_42,
            -0.443_971_877_169_385_63,
            -0.377_837_358_783_447_6,
        ],
        [
            0.379_041_310_034_694_8,
            0.394_245_891_466_712_4,
            0.440_306_471_632_067_8,
            0.274_954_942_784_932_9,
            0.097_503_066_077_503_25,
        ],
        [
            -0.424_726_157_566_909_85,
            -0.299_079_237_567_285_55,
            -0.222_100_890_445_167_65,
            0.477_983_084_611_336_3,
            -0.091_128_855_265_315_36,
        ],
        [
            -0.463_396_931_129_317_7,
            0.254_054_063_012_788_8,
            -0.112_676_421_201_916_7,
            -0.473_379_208_219_708_86,
            0.247_171_919_846_988,
        ],
    ];
    close(found.centres(), expected.as_flattened(), 1e-9);
}

/// Share of right predictions, each before its record was learned.
fn prequential(learner: &mut impl OnlineLearner, data: &Block) -> f64 {
    let right = (0..data.len()).filter(|i| learner.test_then_train(data.rows.row(*i), data.label(*i)).value == data.label(*i));
    right.count() as f64 / data.len() as f64
}

#[test]
fn online_svm() {
    let params = SgdParams { loss: Loss::Hinge, schedule: Schedule::Constant, rate: 0.1, l2: 1e-3, ..SgdParams::default() };
    let mut learner = Sgd::new(WIDTH, params).unwrap();
    prequential(&mut learner, &classes());
    let expected = [
        3.010_957_541_540_194_3,
        -2.033_667_491_677_497,
        0.689_799_236_786_416_7,
        0.069_874_419_978_720_38,
        -0.060_126_907_513_098_22,
        0.3,
    ];
    close(&weights(learner.model()), &expected, 1e-12);
}

#[test]
fn passive_aggressive() {
    let params = PassiveAggressiveParams { intercept: false, ..PassiveAggressiveParams::default() };
    let mut learner = PassiveAggressive::new(WIDTH + 1, params).unwrap();
    assert_eq!(prequential(&mut learner, &classes_with_one()), 0.87);
    let expected = [
        4.560_521_449_779_25,
        -1.821_469_594_126_402_3,
        1.134_012_585_138_005_8,
        -0.281_245_013_744_931_5,
        0.247_809_187_458_197_63,
        0.111_590_883_541_102_14,
    ];
    close(&weights(learner.model()), &expected, 1e-12);
}

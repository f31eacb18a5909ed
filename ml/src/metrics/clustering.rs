use crate::vector::{Rows, squared_distance};
use crate::{Error, Result};

/// Sum of the squared distances of rows to the centres they belong to; centres lie one after another.
///
/// # Errors
/// A row of another width than the centres, or a cluster without a centre.
pub fn sum_of_squared_errors(rows: &Rows, clusters: &[usize], centres: &[f64]) -> Result<f64> {
    let width = rows.width();
    let mut row_values = vec![0.0; width];
    let mut sum = 0.0;
    for (row, cluster) in rows.iter().zip(clusters) {
        let centre = centres.get(cluster * width..(cluster + 1) * width);
        let centre = centre.ok_or_else(|| Error::Data(format!("cluster {cluster} has no centre of {width} values")))?;
        row.write_to(&mut row_values);
        sum += squared_distance(&row_values, centre);
    }
    Ok(sum)
}

/// Mean silhouette (Rousseeuw 1987): for each row how much nearer, on average, the rows of its own cluster are than those of the
/// nearest other one; from -1 to 1. Rows alone in their cluster count 0. Compares all pairs: for a sample.
///
/// # Errors
/// Not as many clusters as rows, or fewer than two clusters.
pub fn silhouette(rows: &Rows, clusters: &[usize]) -> Result<f64> {
    if clusters.len() != rows.len() {
        return Err(Error::Data(format!("silhouette of {} rows in {} clusters", rows.len(), clusters.len())));
    }
    let count = clusters.iter().max().map_or(0, |c| c + 1);
    let mut sizes = vec![0usize; count];
    clusters.iter().for_each(|c| sizes[*c] += 1);
    if sizes.iter().filter(|s| **s > 0).count() < 2 {
        return Err(Error::Data("a silhouette needs two clusters".into()));
    }
    let width = rows.width();
    let mut dense = vec![0.0; rows.len() * width];
    dense.chunks_mut(width.max(1)).zip(rows.iter()).for_each(|(to, row)| row.write_to(to));
    let point = |i: usize| &dense[i * width..(i + 1) * width];
    let (mut total, mut sums) = (0.0, vec![0.0; count]);
    for (i, own) in clusters.iter().enumerate() {
        if sizes[*own] == 1 {
            continue;
        }
        sums.fill(0.0);
        clusters.iter().enumerate().for_each(|(j, other)| sums[*other] += squared_distance(point(i), point(j)).sqrt());
        let inside = sums[*own] / (sizes[*own] - 1) as f64;
        let others = (0..count).filter(|c| c != own && sizes[*c] > 0).map(|c| sums[c] / sizes[c] as f64);
        let outside = others.fold(f64::INFINITY, f64::min);
        total += (outside - inside) / inside.max(outside).max(f64::MIN_POSITIVE);
    }
    Ok(total / rows.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::DenseRows;

    #[test]
    fn two_clear_clusters() {
        let rows = Rows::Dense(DenseRows::from_values(2, vec![0.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 6.0, 9.0, 9.0]).unwrap());
        // sklearn.metrics.silhouette_score(x, [0,0,1,1,1])
        let silhouette = silhouette(&rows, &[0, 0, 1, 1, 1]).unwrap();
        assert!((silhouette - 0.689_258_172_398_323_2).abs() < 1e-12, "{silhouette}");
        let sse = sum_of_squared_errors(&rows, &[0, 0, 1, 1, 1], &[0.0, 0.5, 5.0, 5.0]).unwrap();
        assert_eq!(sse, 0.5 + 1.0 + 32.0);
        assert!(sum_of_squared_errors(&rows, &[0, 0, 2, 1, 1], &[0.0, 0.5, 5.0, 5.0]).is_err());
        assert!(super::silhouette(&rows, &[1; 5]).is_err());
    }
}

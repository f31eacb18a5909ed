//! Learning on the same runtime as everything else, in batch and record by record.

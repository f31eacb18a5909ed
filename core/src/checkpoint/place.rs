//! Where checkpoints are: a folder, or an object store. Paths are relative to it, with `/` between their parts.

use crate::io::{file_error, sync_folder};
use crate::{Error, Result, tokio_runtime};
use futures_util::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that are written once and read often. All methods wait; none is called by a worker while its job runs.
pub(crate) trait Place: Send + Sync {
    /// Begins a file. It is there for others once it is [finished](PlaceFile::finish).
    fn create(&self, path: &str) -> Result<Box<dyn PlaceFile>>;

    /// A whole file.
    fn read(&self, path: &str) -> Result<Vec<u8>>;

    /// A part of a file.
    fn read_range(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>>;

    /// A file's length; `None` if there is none.
    fn length(&self, path: &str) -> Result<Option<u64>>;

    /// The paths of all files below a folder; none if there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Removes a file, and its folder if that is empty then. One that is not there is no error.
    fn remove(&self, path: &str) -> Result<()>;

    /// Has a file of the local file system here too, without copying it; [`Place::settle`] makes that safe. Says whether it could be
    /// done.
    fn link(&self, file: &Path, path: &str) -> Result<bool> {
        let _ = (file, path);
        Ok(false)
    }

    /// What has been linked in a folder is safe when this returns.
    fn settle(&self, folder: &str) -> Result<()> {
        let _ = folder;
        Ok(())
    }

    /// The path for people, and in errors.
    fn shown(&self, path: &str) -> PathBuf;

    /// The folder that it is, if it is one.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Writes a file whose sight means that all of it is there, and will be after a power cut.
    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.create(path)?;
        file.write(bytes)?;
        file.finish()
    }
}

/// A file that is being written. Dropped before it is finished, it leaves nothing that has its name.
pub(crate) trait PlaceFile: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// All of it is safe when this returns.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A folder and a file name as one path.
pub(crate) fn join(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A folder of the local file system, or of one that all processes share.
pub(crate) struct FolderPlace {
    root: PathBuf,
}

impl FolderPlace {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn open(&self, path: &str) -> Result<(File, PathBuf)> {
        let path = self.shown(path);
        let file = File::open(&path).map_err(|e| file_error(&path, e))?;
        Ok((file, path))
    }
}

impl Place for FolderPlace {
    fn create(&self, path: &str) -> Result<Box<dyn PlaceFile>> {
        let target = self.shown(path);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(|e| file_error(folder, e))?;
        let mut hidden = target.clone().into_os_string();
        hidden.push(".tmp");
        let hidden = PathBuf::from(hidden);
        let file = File::create(&hidden).map_err(|e| file_error(&hidden, e))?;
        Ok(Box::new(FolderFile { file: Some(BufWriter::with_capacity(1 << 20, file)), hidden, target }))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let (mut file, path) = self.open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| file_error(&path, e))?;
        Ok(bytes)
    }

    fn read_range(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let (mut file, path) = self.open(path)?;
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(range.start))
            .and_then(|_| file.take(range.end - range.start).read_to_end(&mut bytes))
            .map_err(|e| file_error(&path, e))?;
        if read as u64 != range.end - range.start {
            let expected = range.end - range.start;
            return Err(file_error(&path, format!("expected {expected} bytes from byte {} on, found {read}", range.start)));
        }
        Ok(bytes)
    }

    fn length(&self, path: &str) -> Result<Option<u64>> {
        let path = self.shown(path);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error(&path, error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut files = Vec::new();
        let mut folders = vec![join(folder, "")];
        while let Some(folder) = folders.pop() {
            let shown = self.shown(&folder);
            let entries = match fs::read_dir(&shown) {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound) => continue,
                entries => entries.map_err(|e| file_error(&shown, e))?,
            };
            for entry in entries {
                let entry = entry.map_err(|e| file_error(&shown, e))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = join(&folder, &name);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn remove(&self, path: &str) -> Result<()> {
        let path = self.shown(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(file_error(&path, error)),
            _ => {}
        }
        if let Some(folder) = path.parent().filter(|folder| *folder != self.root) {
            // Where it is not empty it stays.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    fn link(&self, file: &Path, path: &str) -> Result<bool> {
        let target = self.shown(path);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(|e| file_error(folder, e))?;
        // Another file system, one without links, too many of them: the file can be copied.
        Ok(fs::hard_link(file, &target).is_ok())
    }

    fn settle(&self, folder: &str) -> Result<()> {
        sync_folder(&self.shown(folder))
    }

    fn shown(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

struct FolderFile {
    file: Option<BufWriter<File>>,
    hidden: PathBuf,
    target: PathBuf,
}

impl PlaceFile for FolderFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let write = |file: &mut BufWriter<File>| file.write_all(bytes);
        self.file.as_mut().map_or(Ok(()), write).map_err(|e| file_error(&self.target, e))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if let Some(file) = self.file.take() {
            let synced = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
            let renamed = synced.and_then(|()| fs::rename(&self.hidden, &self.target));
            if let Err(error) = renamed {
                let _ = fs::remove_file(&self.hidden);
                return Err(file_error(&self.target, error));
            }
        }
        self.target.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for FolderFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What is buffered need not be written any more.
            let _ = file.into_parts();
            let _ = fs::remove_file(&self.hidden);
        }
    }
}

/// A prefix of an object store.
pub(crate) struct ObjectPlace {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
}

impl ObjectPlace {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: ObjectPath) -> Self {
        Self { store, prefix }
    }

    fn at(&self, path: &str) -> ObjectPath {
        ObjectPath::from_iter(self.prefix.parts().chain(ObjectPath::from(path).parts()))
    }

    fn wait<R>(&self, path: &str, work: impl Future<Output = object_store::Result<R>>) -> Result<R> {
        tokio_runtime::handle()?.block_on(work).map_err(|error| file_error(&self.shown(path), error.to_string()))
    }
}

impl Place for ObjectPlace {
    fn create(&self, path: &str) -> Result<Box<dyn PlaceFile>> {
        let upload = self.wait(path, self.store.put_multipart(&self.at(path)))?;
        // The parts go up in tasks of the runtime.
        let _inside = tokio_runtime::handle()?;
        Ok(Box::new(ObjectFile { upload: Some(WriteMultipart::new(upload)), shown: self.shown(path) }))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.wait(path, async { Ok(self.store.get(&self.at(path)).await?.bytes().await?.to_vec()) })
    }

    fn read_range(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let expected = range.end - range.start;
        let start = range.start;
        let bytes = self.wait(path, async { Ok(self.store.get_range(&self.at(path), range).await?.to_vec()) })?;
        if bytes.len() as u64 != expected {
            let message = format!("expected {expected} bytes from byte {start} on, found {}", bytes.len());
            return Err(file_error(&self.shown(path), message));
        }
        Ok(bytes)
    }

    fn length(&self, path: &str) -> Result<Option<u64>> {
        self.wait(path, async {
            match self.store.head(&self.at(path)).await {
                Ok(found) => Ok(Some(found.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let below = self.at(folder);
        let mut files: Vec<String> = self.wait(folder, async {
            let found: Vec<_> = self.store.list(Some(&below)).try_collect().await?;
            let inside = |location: &ObjectPath| {
                let parts = location.prefix_match(&self.prefix)?;
                Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
            };
            Ok(found.iter().filter_map(|object| inside(&object.location)).collect())
        })?;
        files.sort_unstable();
        Ok(files)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.wait(path, async {
            match self.store.delete(&self.at(path)).await {
                Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => Err(error),
                _ => Ok(()),
            }
        })
    }

    fn shown(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("{}/{}", self.store, self.at(path)))
    }
}

struct ObjectFile {
    upload: Option<WriteMultipart>,
    shown: PathBuf,
}

impl PlaceFile for ObjectFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let runtime = tokio_runtime::handle()?;
        let _inside = runtime.enter();
        if let Some(upload) = &mut self.upload {
            // No more than a few parts are on their way at a time.
            runtime.block_on(upload.wait_for_capacity(UPLOADS)).map_err(|e| file_error(&self.shown, e.to_string()))?;
            upload.write(bytes);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let runtime = tokio_runtime::handle()?;
        let Some(upload) = self.upload.take() else { return Ok(()) };
        runtime.block_on(upload.finish()).map(drop).map_err(|e| file_error(&self.shown, e.to_string()))
    }
}

/// Parts of a file that are on their way to an object store at a time.
const UPLOADS: usize = 4;

impl Drop for ObjectFile {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), tokio_runtime::handle()) {
            // Parts of a file that is not finished are nothing to anybody; stores sweep them too.
            drop(runtime.block_on(upload.abort()));
        }
    }
}

/// The place that a text means: a folder, or `scheme://...` for an object store.
///
/// # Errors
/// [`Error::Plan`] that names the text, and what would make it work.
pub(crate) fn parse(text: &str) -> Result<Arc<dyn Place>> {
    if !text.contains("://") {
        return Ok(Arc::new(FolderPlace::new(PathBuf::from(text))));
    }
    let wrong = |error: String| Error::Plan(format!("checkpoints at `{text}`: {error}"));
    let url = text.parse::<url::Url>().map_err(|e| wrong(e.to_string()))?;
    let (store, prefix) = object_store::parse_url(&url)
        .map_err(|e| wrong(format!("{e} (the features aws, gcp, azure and http of fluvial bring the clients)")))?;
    Ok(Arc::new(ObjectPlace::new(Arc::from(store), prefix)))
}

/// The place and the folder in it of a checkpoint or savepoint that a text means. The place of a job's checkpoint is that of all of
/// them, since it may name files of others.
///
/// # Errors
/// As [`parse`].
pub(crate) fn locate(text: &str) -> Result<(Arc<dyn Place>, String)> {
    let trimmed = text.trim_end_matches('/');
    let (above, name) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
    if super::manifest::checkpoint_of(name).is_none() {
        return Ok((parse(text)?, String::new()));
    }
    Ok((parse(if above.is_empty() { "/" } else { above })?, name.to_owned()))
}

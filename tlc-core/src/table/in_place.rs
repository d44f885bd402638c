//! Parquet files that stay where they are: found, looked at, and remembered.
//!
//! Only footers are read, many at a time; what is kept of each is a few hundred bytes. A file that
//! changes later is noticed by its size, by its footer and by the tag of its store (see
//! [`DataFile`](super::file::DataFile)).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use parquet::file::metadata::PageIndexPolicy;
use url::Url;

use crate::alias::Aliases;
use crate::blob;
use crate::error::{Error, Result};
use crate::format::table::{InPlace, RowsAdded};
use crate::redact::redacted_url;
use crate::schema::{self, field_id};
use crate::store::{self, Place};

/// How many footers are read at the same time. Each may be some megabytes.
const READS_MAX: usize = 32;

/// A file that was found.
struct Source {
    url: Url,
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
}

/// What a footer says.
struct Footer {
    url: Url,
    schema: SchemaRef,
    rows: u64,
    bytes: u64,
    etag: Option<String>,
    hash: String,
}

/// The files at `urls`, each a file or a folder, in that order; row ids count from 0. One listing for
/// a folder, and one request for each file, or two.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming what is not there,
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming a file that is no Parquet,
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming one that has other columns than the first;
/// those of the store.
pub(super) async fn register(place: &Place, urls: &[&str]) -> Result<(SchemaRef, Vec<RowsAdded>)> {
    let aliases = place.aliases().await?;
    let mut sources = Vec::new();
    for url in urls {
        sources.extend(find(place, url).await?);
    }
    let first = sources.first().map(|first| redacted_url(&first.url));
    let mut footers = stream::iter(sources).map(read).buffered(READS_MAX);
    let mut known: Option<SchemaRef> = None;
    let mut files: Vec<RowsAdded> = Vec::new();
    while let Some(footer) = footers.try_next().await? {
        let schema = match &known {
            None => Arc::clone(known.insert(Arc::clone(&footer.schema))),
            Some(schema) => Arc::clone(schema),
        };
        if let Some(difference) = difference(&schema, &footer.schema) {
            let (file, first) = (redacted_url(&footer.url), first.unwrap_or_default());
            return Err(Error::invalid(format!(
                "{file} has other columns than {first}: {difference}"
            )));
        }
        let first_row_id = files.last().map_or(0, |last| last.first_row_id + last.rows);
        files.push(remembered(footer, &schema, first_row_id, &aliases));
    }
    let none = || Error::invalid("a table in place needs at least one Parquet file");
    Ok((known.ok_or_else(none)?, files))
}

/// The file at `url`, or all Parquet files below the folder there, by path.
async fn find(place: &Place, url: &str) -> Result<Vec<Source>> {
    let url = store::parse_url(&place.aliases().await?.resolve(url)?)?;
    let shown = redacted_url(&url);
    if url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid(format!(
            "{shown} is given with credentials or a query, which would be kept in the table's log; give them as options of the root"
        )));
    }
    let (store, path) = store::open(&url, &place.options)?;
    let unreadable =
        |err: object_store::Error| Error::from(err).context(format!("cannot read {shown}"));
    if !url.path().ends_with('/') {
        match store.head(&path).await {
            Ok(meta) => return Ok(vec![Source { url, store, meta }]),
            // Perhaps a folder: stores know no difference before they are asked for what is below.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(err) => return Err(unreadable(err)),
        }
    }
    let listing = store.list(Some(&path)).try_filter(|meta| {
        let is_data = is_data(&path, &meta.location);
        async move { is_data }
    });
    let mut found: Vec<ObjectMeta> = listing.try_collect().await.map_err(unreadable)?;
    if found.is_empty() {
        return Err(Error::not_found(format!(
            "{shown} is no file, and no folder with Parquet files (*.parquet) in it"
        )));
    }
    found.sort_by(|a, b| a.location.cmp(&b.location));
    let sources = found.into_iter().map(|meta| Source {
        url: url_below(&url, &path, &meta.location),
        store: Arc::clone(&store),
        meta,
    });
    Ok(sources.collect())
}

/// Whether a file below `folder` is one of rows: named so, and neither it nor a folder on the way is
/// hidden (`.x`) or somebody's bookkeeping (`_x`).
fn is_data(folder: &Path, file: &Path) -> bool {
    let Some(parts) = file.prefix_match(folder) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let is_shown = parts
        .iter()
        .all(|part| !part.as_ref().starts_with(['.', '_']));
    let name = parts.last().map(|name| name.as_ref().to_ascii_lowercase());
    is_shown && name.is_some_and(|name| name.ends_with(".parquet"))
}

/// The URL of `file`, which lies below `folder`, whose URL is `url`.
fn url_below(url: &Url, folder: &Path, file: &Path) -> Url {
    let mut below = url.clone();
    if let (Ok(mut segments), Some(parts)) = (below.path_segments_mut(), file.prefix_match(folder))
    {
        segments.pop_if_empty();
        segments.extend(parts.map(|part| part.as_ref().to_owned()));
    }
    below
}

/// Reads the footer of one file.
async fn read(source: Source) -> Result<Footer> {
    let Source { url, store, meta } = source;
    let unreadable = |err: Error| err.context(format!("cannot read {}", redacted_url(&url)));
    let mut reader = blob::reader(&store, &meta.location, meta.size);
    let etag = reader.pin().await.map_err(unreadable)?;
    let metadata = blob::open(&mut reader, PageIndexPolicy::Skip).await;
    let metadata = metadata.map_err(unreadable)?;
    let hash = reader.footer_hash().await.map_err(unreadable)?;
    let n_rows = metadata.metadata().file_metadata().num_rows();
    Ok(Footer {
        schema: schema::for_table(metadata.schema()).map_err(unreadable)?,
        rows: u64::try_from(n_rows).unwrap_or(0),
        bytes: meta.size,
        etag: etag.filter(|_| url.scheme() != "file"),
        hash,
        url,
    })
}

fn remembered(
    footer: Footer,
    schema: &SchemaRef,
    first_row_id: u64,
    aliases: &Aliases,
) -> RowsAdded {
    let file = aliases.shorten(footer.url.as_str());
    // Read elsewhere it is another store's copy, whose tag says nothing about this one's.
    let etag = footer.etag.filter(|_| matches!(file, Cow::Borrowed(_)));
    let columns = schema
        .fields()
        .iter()
        .filter_map(|field| Some((field_id(field)?, field.name().clone())));
    RowsAdded {
        file: file.into_owned(),
        first_row_id,
        rows: footer.rows,
        bytes: footer.bytes,
        in_place: Some(InPlace {
            etag,
            footer: Some(footer.hash),
            columns: columns.collect(),
        }),
    }
}

/// The first column in which `other` is not `schema`, in words; `None` if there is none.
fn difference(schema: &SchemaRef, other: &SchemaRef) -> Option<String> {
    let (ours, theirs) = (schema.fields(), other.fields());
    for (at, field) in ours.iter().enumerate() {
        let name = field.name();
        match theirs.get(at) {
            None => return Some(format!("it has no column {name:?}")),
            Some(other) if other.name() != name => {
                let other = other.name();
                return Some(format!("its column {at} is {other:?} and not {name:?}"));
            }
            Some(other) if other.data_type() != field.data_type() => {
                let (own, other) = (field.data_type(), other.data_type());
                return Some(format!(
                    "its column {name:?} is of {other} and not of {own}"
                ));
            }
            Some(_) => {}
        }
    }
    let more = theirs.get(ours.len())?;
    Some(format!("it has a column {:?} more", more.name()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn rows_are_in_files_that_are_named_so_and_not_hidden() {
        let folder = Path::from("data/set");
        for (file, expected) in [
            ("data/set/a.parquet", true),
            ("data/set/b=1/c.PARQUET", true),
            ("data/set/a.csv", false),
            ("data/set/.a.parquet", false),
            ("data/set/_tmp/a.parquet", false),
            ("data/set/.git/a.parquet", false),
            ("data/settle/a.parquet", false),
        ] {
            assert_eq!(is_data(&folder, &Path::from(file)), expected, "{file}");
        }
    }

    #[test]
    fn the_url_of_a_file_below_leads_back_to_it() {
        for base in ["s3://bucket/a%20b/", "s3://bucket/a%20b", "file:///a%20b/"] {
            let url = Url::parse(base).unwrap();
            let folder = Path::from_url_path(url.path()).unwrap();
            for name in [
                "x.parquet",
                "c d/50%.parquet",
                "c=1/#?.parquet",
                "ü.parquet",
            ] {
                let file = Path::parse(format!("{folder}/{name}")).unwrap();
                let below = url_below(&url, &folder, &file);
                assert_eq!(Path::from_url_path(below.path()).unwrap(), file, "{below}");
                assert_eq!((below.query(), below.fragment()), (None, None));
            }
        }
    }

    #[test]
    fn a_difference_names_the_column() {
        let schema = |text: &str| {
            let fields = text.split_whitespace().map(|field| {
                let (name, kind) = field.split_once(':').unwrap();
                let kind = match kind {
                    "i" => DataType::Int64,
                    _ => DataType::Utf8,
                };
                Field::new(name, kind, true)
            });
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        };
        for (other, expected) in [
            ("a:i b:s", None),
            ("a:i", Some("it has no column \"b\"")),
            ("a:i c:s", Some("its column 1 is \"c\" and not \"b\"")),
            (
                "a:s b:s",
                Some("its column \"a\" is of Utf8 and not of Int64"),
            ),
            ("a:i b:s c:i", Some("it has a column \"c\" more")),
        ] {
            let found = difference(&schema("a:i b:s"), &schema(other));
            assert_eq!(found.as_deref(), expected, "{other}");
        }
    }
}

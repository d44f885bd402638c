//! Reading one state of the table in the ways that people do, each beside the same on a plain file.

use std::time::Duration;

use tlc_core::arrow::array::{AsArray as _, RecordBatch};
use tlc_core::arrow::datatypes::{Int32Type, UInt64Type};
use tlc_core::{Snapshot, Table, block_on};

use super::measure::{Paired, median, paired, time};
use super::report::Report;
use super::rows::{COLUMNS, Truth, hundred, whole};
use super::sides::{Sides, scan};

/// Our name of a table, and that of the plain file.
type Tables<'a> = (&'a str, &'a str);

/// What a line is called, and under which key others have told theirs.
type Named<'a> = (&'a str, &'a str);

const HEAD: Tables<'static> = ("bench.t", "head");

/// As much as the head in full may cost, in plain files.
const WHOLE: &str = "≤ 1.1 x";

const FILTERED: &str = "≤ 1.5 x";

const ONE_MILLI: &str = "≤ 1 ms";

const PAIR: &str = "≤ 3 ms";

/// What readings share.
pub(crate) struct Reads<'a> {
    pub(crate) sides: &'a Sides,
    pub(crate) rounds: usize,
    /// Whether others were measured after as many revisions.
    pub(crate) is_keyed: bool,
    pub(crate) report: &'a mut Report,
}

impl Reads<'_> {
    pub(crate) fn whole(&mut self, truth: &Truth, name: Named<'_>, tables: Tables<'_>) {
        let query = format!("SELECT {} FROM {{}}", COLUMNS.join(", "));
        let measured = self.query(&query, tables, (truth, truth.labels().len()));
        self.tell(name, &measured, WHOLE);
    }

    pub(crate) fn pair(&mut self, truth: &Truth) {
        let query = "SELECT id, label FROM {}";
        let measured = self.query(query, HEAD, (truth, truth.labels().len()));
        self.tell(("`id, label` of the head", "id_label_ms"), &measured, PAIR);
        let query = "SELECT _rowid, label FROM bench.t";
        let mut n_rows = 0;
        self.sides.ours(query, |batch| {
            let ids = batch.column(0).as_primitive::<UInt64Type>().values();
            let labels = batch.column(1).as_primitive::<Int32Type>().values();
            for (id, label) in ids.iter().zip(labels) {
                assert_eq!(truth.labels()[usize::try_from(*id).unwrap()], *label);
            }
            n_rows += ids.len();
        });
        assert_eq!(n_rows, truth.labels().len());
        let measured = paired(
            self.rounds,
            || self.sides.ours(query, |_| ()),
            || self.sides.plain("SELECT id, label FROM head", |_| ()),
        );
        let name = ("`_rowid, label` of the head, beside `id, label`", "");
        self.tell(name, &measured, PAIR);
    }

    /// Without SQL, beside the engine with one thread.
    pub(crate) fn scans(&mut self, snapshot: &Snapshot, truth: &Truth) {
        for (what, columns) in [
            ("head in full, `Snapshot::scan`", &COLUMNS[..]),
            ("`id, label`, `Snapshot::scan`", &["id", "label"]),
        ] {
            let mut seen = Seen::new(truth);
            scan(snapshot, columns, |batch| seen.see(batch));
            seen.check(truth.labels().len());
            let query = format!("SELECT {} FROM head", columns.join(", "));
            let measured = paired(
                self.rounds,
                || scan(snapshot, columns, |_| ()),
                || self.sides.plain_alone(&query, |_| ()),
            );
            let aim = if columns.len() > 2 { WHOLE } else { PAIR };
            self.tell((what, ""), &measured, aim);
        }
    }

    pub(crate) fn filters(&mut self, truth: &Truth) {
        type Passes = fn(u64, i32) -> bool;
        let filters: [(&str, &str, Passes); 3] = [
            (
                "label = 7 AND i4 < 1000",
                "filter_edited_ms",
                |id, label| label == 7 && whole(4, id) < 1_000,
            ),
            ("i4 = 77", "filter_ms", |id, _| whole(4, id) == 77),
            ("id BETWEEN 50000 AND 50100", "", |id, _| {
                (50_000..=50_100).contains(&id)
            }),
        ];
        for (filter, key, passes) in filters {
            let query = format!("SELECT {} FROM {{}} WHERE {filter}", COLUMNS.join(", "));
            let rows = (0..).zip(truth.labels());
            let n_rows = rows.filter(|(id, label)| passes(*id, **label)).count();
            let measured = self.query(&query, HEAD, (truth, n_rows));
            let what = format!("rows where `{filter}`");
            self.tell((&what, key), &measured, FILTERED);
        }
    }

    /// A hundred rows, whole, by their ids.
    pub(crate) fn by_id(&mut self, snapshot: &Snapshot, truth: &Truth) {
        let ids = hundred(truth.labels().len() as u64);
        let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        let columns = COLUMNS.join(", ");
        let plain = format!("SELECT {columns} FROM head WHERE id IN ({list})");
        let ours = format!("SELECT {columns} FROM bench.t WHERE _rowid IN ({list})");
        let take = |columns: &[&str]| block_on(snapshot.take(&ids, columns)).unwrap();
        truth.check(&take(&COLUMNS));
        truth.check(&take(&["id", "label"]));
        let mut seen = [Seen::new(truth), Seen::new(truth)];
        self.sides.ours(&ours, |batch| seen[0].see(batch));
        self.sides.plain(&plain, |batch| seen[1].see(batch));
        seen.iter().for_each(|seen| seen.check(ids.len()));
        let nothing = |_: &RecordBatch| ();
        let measured = paired(
            self.rounds,
            || take(&COLUMNS),
            || self.sides.plain(&plain, nothing),
        );
        let name = ("100 rows by id, `Snapshot::take`", "rows_by_id_ms");
        self.tell(name, &measured, ONE_MILLI);
        let measured = paired(
            self.rounds,
            || self.sides.ours(&ours, nothing),
            || self.sides.plain(&plain, nothing),
        );
        self.tell(("100 rows by id, SQL", ""), &measured, ONE_MILLI);
        let plain = plain.replace(&columns, "id, label");
        let measured = paired(
            self.rounds,
            || take(&["id", "label"]),
            || self.sides.plain(&plain, nothing),
        );
        let name = ("100 labels by id, `Snapshot::take`", "");
        self.tell(name, &measured, ONE_MILLI);
    }

    /// What differs between two revisions.
    pub(crate) fn diff(&mut self, table: &Table, (from, to): (u64, u64), truths: (&Truth, &Truth)) {
        let labels = truths.0.labels().iter().zip(truths.1.labels());
        let differs = (0..).zip(labels).filter(|(_, (old, new))| old != new);
        let (ids, new): (Vec<u64>, Vec<i32>) = differs.map(|(id, (_, new))| (id, *new)).unzip();
        let mut diff = || block_on(table.diff(from, to)).unwrap();
        let found = diff();
        assert_eq!(found.cells[0].row_ids, ids);
        let values = found.cells[0].new.as_primitive::<Int32Type>();
        assert_eq!(values.values(), new.as_slice());
        let times: Vec<Duration> = (0..self.rounds).map(|_| time(&mut diff)).collect();
        let what = format!("diff, middle to head: {} cells", ids.len());
        let key = if self.is_keyed { "diff_ms" } else { "" };
        self.report.line(&what, key, median(times), ONE_MILLI);
    }

    /// Both sides once, to see that they are right, and then in turn.
    fn query(&self, query: &str, tables: Tables<'_>, expected: (&Truth, usize)) -> Paired {
        let [ours, plain] = [tables.0, tables.1].map(|table| query.replace("{}", table));
        let (truth, n_rows) = expected;
        let mut seen = [Seen::new(truth), Seen::new(truth)];
        self.sides.ours(&ours, |batch| seen[0].see(batch));
        self.sides.plain(&plain, |batch| seen[1].see(batch));
        seen.iter().for_each(|seen| seen.check(n_rows));
        paired(
            self.rounds,
            || self.sides.ours(&ours, |_| ()),
            || self.sides.plain(&plain, |_| ()),
        )
    }

    fn tell(&mut self, (what, key): Named<'_>, measured: &Paired, aim: &str) {
        let key = if self.is_keyed { key } else { "" };
        self.report.line(what, key, measured, aim);
    }
}

/// Counts rows that are what they must be.
struct Seen<'a> {
    truth: &'a Truth,
    n_rows: usize,
}

impl<'a> Seen<'a> {
    fn new(truth: &'a Truth) -> Self {
        Self { truth, n_rows: 0 }
    }

    fn see(&mut self, batch: &RecordBatch) {
        self.truth.check(batch);
        self.n_rows += batch.num_rows();
    }

    #[track_caller]
    fn check(&self, n_rows: usize) {
        assert_eq!(self.n_rows, n_rows);
    }
}

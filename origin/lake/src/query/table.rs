//! A table of the lake: the files that one snapshot names. Columns, row groups and days that a query does not need are not read.

use std::{fmt, sync::Arc};

use arrow::{
    array::{AsArray as _, Date32Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, ScalarValue, Statistics, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::DataFusionError,
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};

use crate::{
    manifest::{File, Snapshot},
    rows::Kind,
};

/// The name under which the engine finds the lake's objects.
pub(super) fn store_url() -> Result<ObjectStoreUrl, DataFusionError> {
    ObjectStoreUrl::parse("lake://lake")
}

pub(super) struct LakeTable {
    schema: TableSchema,
    files: Vec<(i32, PartitionedFile)>,
    partitions: usize,
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeTable").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

const DAY: &str = "day";

impl LakeTable {
    pub(super) fn new(kind: Kind, snapshot: &Snapshot, partitions: usize) -> Result<Self, DataFusionError> {
        let day = Arc::new(Field::new(DAY, DataType::Date32, false));
        let schema = TableSchema::builder(kind.schema()).with_table_partition_cols(vec![day]).build();
        let files = snapshot.files.iter().filter(|file| file.kind == kind);
        let files = files.map(|file| partitioned(file, &schema)).collect::<Result<_, _>>()?;
        Ok(Self { schema, files, partitions })
    }

    /// The files of the days that the filters leave, dealt out to those who read. A filter on anything else leaves them all.
    fn groups(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<FileGroup>, DataFusionError> {
        let days = Schema::new(vec![Field::new(DAY, DataType::Date32, false)]);
        let known = DFSchema::try_from(days.clone())?;
        let column = Date32Array::from_iter_values(self.files.iter().map(|(day, _)| *day));
        let batch = RecordBatch::try_new(Arc::new(days), vec![Arc::new(column)])?;
        let mut wanted = vec![true; self.files.len()];
        for filter in filters.iter().filter(|filter| filter.column_refs().iter().all(|column| column.name == DAY)) {
            let verdicts = session.create_physical_expr(filter.clone(), &known)?.evaluate(&batch)?.into_array(self.files.len())?;
            for (wanted, verdict) in wanted.iter_mut().zip(verdicts.as_boolean()) {
                *wanted &= verdict.unwrap_or(false);
            }
        }
        let mut groups: Vec<Vec<PartitionedFile>> = (0..self.partitions).map(|_| Vec::new()).collect();
        let files = self.files.iter().zip(wanted).filter_map(|((_, file), wanted)| wanted.then_some(file));
        for (file, turn) in files.zip((0..self.partitions).cycle()) {
            if let Some(group) = groups.get_mut(turn) {
                group.push(file.clone());
            }
        }
        Ok(groups.into_iter().filter(|group| !group.is_empty()).map(FileGroup::new).collect())
    }
}

/// A file with its day, which is in no column of it, and its number of rows.
fn partitioned(file: &File, schema: &TableSchema) -> Result<(i32, PartitionedFile), DataFusionError> {
    let wrong = || DataFusionError::Internal(format!("{} is not a day", file.day));
    let day: jiff::civil::Date = file.day.parse().map_err(|_| wrong())?;
    let days = day.since(jiff::civil::Date::constant(1970, 1, 1)).map_err(|_| wrong())?.get_days();
    let mut statistics = Statistics::new_unknown(schema.file_schema());
    statistics.num_rows = usize::try_from(file.rows).map_or(Precision::Absent, Precision::Exact);
    let file = PartitionedFile::new(file.object.clone(), u64::try_from(file.bytes).unwrap_or(0))
        .with_partition_values(vec![ScalarValue::Date32(Some(days))])
        .with_statistics(Arc::new(statistics));
    Ok((days, file))
}

#[async_trait::async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let groups = self.groups(session, filters)?;
        if groups.is_empty() {
            let schema = match projection {
                Some(projection) => Arc::new(self.schema().project(projection)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let source = Arc::new(ParquetSource::new(self.schema.clone()));
        let scan = FileScanConfigBuilder::new(store_url()?, source)
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    /// Filters choose files, and the engine's optimizer hands them to the Parquet reader, which passes over row groups; they are applied above as
    /// well.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

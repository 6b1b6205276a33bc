"""Reads an export of the activity lake with an engine that is not ours: `lake.py duckdb|spark FOLDER SQL...`, the rows of each
answer as JSON.

Both engines are given the tables that docs/lake.md names, made of nothing but what it says of the files.
"""

import json
import sys

PLAYS = """
    SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY day, play ORDER BY revision DESC) AS age FROM play_revisions) AS versions
    WHERE age = 1
"""


def duckdb_rows(folder, queries):
    import duckdb

    for table, kind in (("play_revisions", "play"), ("likes", "like")):
        duckdb.sql(f"CREATE VIEW {table} AS FROM read_parquet('{folder}/activity/kind={kind}/*/*.parquet')")
    duckdb.sql(f"CREATE VIEW plays AS {PLAYS}")
    return [duckdb.sql(sql).fetchall() for sql in queries]


def spark_rows(folder, queries):
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.driver.memory", "1g")
    session = session.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    spark = session.config("spark.sql.shuffle.partitions", "2").config("spark.sql.session.timeZone", "UTC").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    for table, kind in (("play_revisions", "play"), ("likes", "like")):
        spark.read.parquet(f"{folder}/activity/kind={kind}").createOrReplaceTempView(table)
    spark.sql(PLAYS).createOrReplaceTempView("plays")
    return [spark.sql(sql).collect() for sql in queries]


engine, folder, *queries = sys.argv[1:]
answers = {"duckdb": duckdb_rows, "spark": spark_rows}[engine](folder, queries)
print(json.dumps([[list(row) for row in rows] for rows in answers], default=str))

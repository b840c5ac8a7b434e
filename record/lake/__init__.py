"""The lake: Parquet files and DuckDB views."""

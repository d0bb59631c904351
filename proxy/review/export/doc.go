// Package export writes decision logs in the formats of other people's tools.
//
// [Parquet] has one row a record, in columns of the names that docs/log.md gives them: nested objects are groups
// (decision.reason, flow.pkts_toserver), so that a query on the JSON lines is a query on the file.
package export

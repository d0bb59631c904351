// Package web serves a decision log as a page: which troubles there were, records by filters, a flow's story, what policy was in force
// when. It reads through package index and writes nothing but the index.
//
// Pages are rendered here and work without script; the scripts of assets/ add keys, endless scrolling, the drawer and following. Nothing
// is fetched from elsewhere, and nothing of a log is ever markup: html/template escapes it, and ladders are drawn by package ladder.
package web

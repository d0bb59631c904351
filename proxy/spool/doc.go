// Package spool takes records from the packet path to files without making a packet wait.
//
// A [Ring] carries values from one goroutine to another, bounded: what does not fit is refused at once, and whoever offered it counts
// it. A [Dir] writes what comes out into a directory of files that rotate by size, whose names sort by time, and that are kept to a total
// size and an age.
//
// The decision log and the annotated captures are made of these; what a lost record means is theirs to say.
package spool

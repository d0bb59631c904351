// Package conntrack is what the gateway remembers about TCP connections, and what a segment means to that memory.
//
// It is pure: it reads no clock, opens no socket, starts no goroutine and takes no lock. Time comes in as an [Instant];
// whatever must leave goes out as a value. A [Table] belongs to one worker.
//
// The path of a segment through this package is
//
//	Lookup   (tuple, now) -> View            reads only; an expired entry is seen as expired
//	Classify (view, segment, rules) -> Class the finding, with expected-against-seen numbers
//	Commit   (view, segment, effect)         what the table remembers afterwards
//
// A plain segment of a settled connection, once the owner knows that it would be tracked and refresh the timer, may take
//
//	Glimpse  (segment)                       where its connection is, and who governs it
//	Follow   (segment, rules)                all of the above, or nothing where it is not plain
//
// What to do about a finding is not decided here but in package policy.
package conntrack

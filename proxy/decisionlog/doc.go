// Package decisionlog writes and reads halfopen's decision log: one JSON
// object a line, shaped like Suricata's EVE, that explains every queue message
// which reached the gateway.
//
// # Conservation
//
// The unit is one queue message (a GSO super-packet is one). A message is
// explained by exactly one of
//
//   - a decision record of its own (unless the record settles an earlier hold),
//   - the counted field of a flow record (plain in-window forwards since that
//     flow's previous record),
//   - a stats record's suppressed counts (individual records that a rate limit
//     held back since the previous stats record),
//   - a gap record's count (what was lost, and where).
//
// [Record.Explains] says how many messages a record stands for, and [Tally]
// sums them. Whatever loses a record (a full ring, a failing disk) adds what
// that record would have explained to the next gap record, so the sum stays
// the kernel counter's. Package review proves it.
//
// # Files
//
// A run (the life of one process) writes decisions-<UTC time>-<seq>.jsonl
// files; the names sort by time and a start never reopens an old file. The first
// line of each file is a header record: schema version, run id, the file's
// number within the run, and the tally of the run's earlier files. The tally
// makes a file provable without its predecessors (retention may have removed
// them) and shows which file a missing line is missing from.
//
// # What becomes of losses
//
// A producer's ring is bounded and a full ring never blocks: the record is
// dropped and counted, by event type and reason, and a gap record "ring" with
// the exact count follows as soon as the ring has room. Whoever has more records
// at a time than a ring takes, and no packet that waits, gives the Writer its
// time first ([Producer.Await]). When the disk refuses a
// batch the file is cut back to its last whole line, everything from then on is
// counted, and a gap record "disk" (exact) is the first line written once the
// disk takes writes again.
//
// # After a crash
//
// A killed process leaves its rules, and with them the kernel counter K, which
// goes on counting (the rules bypass a queue without a reader). The next start
//
//  1. locks the directory, finds the newest run in it and sums what its files
//     explain: E = tally in the last header + the lines of that last file (a
//     last line cut short explains nothing);
//  2. takes from it the counter's base B (the first stats record's, repeated in
//     every header) and the last value seen in the log, L;
//  3. if the run's last stats record is final, it ended well: nothing to do;
//  4. otherwise, with the leftover counter at K >= L: one gap "crash" for that
//     run, count = (K - B) - E, bound upper. It is an upper bound on what the
//     dead process decided without a trace, because messages that passed by
//     bypass after its death are in it; the new run must take K as its own
//     base so that no message lies between the two runs;
//  5. if the table is gone, the machine was rebooted or the counter went
//     backwards (K < L), nobody knows K: count = max(0, (L - B) - E), bound
//     unknown, and detail says why.
package decisionlog

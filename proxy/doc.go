// Package proxy moves packets between the kernel, the policy engine and the log. It holds all I/O of the packet path: clocks,
// sockets, threads and files. It decides nothing: that is policy.Engine.Step.
//
// # One packet
//
// A [Worker] owns one main queue, that queue's second queue and one engine, on one OS thread, without locks. In order:
//
//  1. receive  a batch from the kernel queue; the clock is read once for the batch           worker.go
//  2. decode   bytes -> conntrack.Segment; what cannot be decoded is a finding                decode.go
//  3. step     Engine.Step: look up, classify, decide, commit                                 package policy
//  4. act      verdict into the queue's buffer; injection is a barrier (below)                act.go
//  5. flush    the batch's verdicts leave in one system call
//  6. shadow   the same segments through each shadow policy's engine; with --dry-run one is   shadow.go
//     the policy under trial (trial.go)
//  7. log      records into the worker's bounded ring; a writer goroutine encodes them        record.go
//
// Between two batches the worker runs administrative calls (flow listings, reloads, counters), lets the engine do
// what time alone causes, and serves the second queue.
//
// # Injection is a barrier
//
// Order matters to the ends. Verdicts of earlier packets are flushed; then what goes to the peer is injected; then this packet gets its
// verdict; then the reply to its sender is injected. A RST for the server that left after the SYN it makes room for would draw a
// challenge ACK instead of healing.
//
// # The second queue
//
// The main queue copies headers only and answers in batches. A segment to be held or rewritten gets the verdict "queue to n"
// towards the second queue, which copies everything, does not take GSO super-packets, and has bounds of its own: so no batch
// verdict releases a held packet, no hold fills the main queue, and no rewrite truncates.
package proxy

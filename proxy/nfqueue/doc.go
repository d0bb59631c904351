// Package nfqueue is the kernel's packet queue: the rules that send segments there, the batches in which they arrive,
// and the verdicts that let them go.
//
// A [Queue] is one bound NFQUEUE number. Its owner (one goroutine) loops:
//
//	Recv            many messages in one system call, parsed in place; no allocation
//	Accept, Drop... each received id gets exactly one verdict; runs of plain accepts become one batch message
//	Flush           all verdicts since the last Flush in one system call, in the order they were given
//
// A [RuleSet] is what [Install] puts in front of the queues, in nftables tables of our own; [Probe] says what the
// kernel and the privileges at hand allow.
//
// What the kernel does, and where this package relies on it (net/netfilter/nfnetlink_queue.c, nf_queue.c):
//
//   - A message that does not fit into the socket's buffer still takes an id, so a hole in the ids is the exact number
//     of messages lost there. A message refused because the queue was full takes none: it shows in the kernel's
//     queue_dropped, or nowhere at all with fail-open; only the counter in front of the queue rule knows it.
//   - A batch verdict covers every queued id up to its own, so [Queue] uses one only when it knows that each of them
//     has been answered.
//   - A verdict for an id that the kernel no longer holds comes back as an error on the receive path. It is counted.
//   - Unbinding drops what is still queued; [Queue.Close] therefore lets it go first where the queue fails open.
package nfqueue

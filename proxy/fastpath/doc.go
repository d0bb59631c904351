// Package fastpath is the eBPF flow cache: a tc program at the ingress of the gateway's interfaces that knows settled connections. What
// the engine would call a plain in-window segment of one is checked, counted and tracked there, and marked so that the rules let it past
// the queue. Everything else of such a connection is punted: it takes the queue as ever. docs/fastpath.md tells it for operators.
//
// # The order
//
// The program and the worker never both move a connection. They agree by a punt number, which the program alone counts up:
//
//   - A flow is installed frozen: all of its segments are punted, each with a number of its own, whose low bits go into its mark ([Marks]).
//   - The worker steps them in the order of the queue. When it has handled the one with number n, it arms the flow by n ([Flows.Arm]). The
//     program regards the flow as armed only while n is the last number that it gave: a segment that is still under way to the worker is
//     never overtaken by one that passes.
//   - A segment that does not pass freezes both directions, by taking the next number. The worker freezes a flow by itself where it must
//     ([Flows.Freeze]), and all of its flows at once where its policy changes ([Flows.Bump]).
//   - Before it steps a segment the worker takes over what the program has seen since ([Flows.Read], [Flows.Freeze]): state and
//     counters, read under the lock under which the program moves them.
//
// The program acts only while the worker's beat ([Flows.Beat]) is no older than a second, so that nothing passes that nobody watches.
//
// # The maps
//
// Each has one writer. User space writes keys (how a direction looks where it comes in, to the flow's slot), arms (what a flow is armed with;
// in shared memory, so that arming needs no system call), workers (beat and epoch, likewise) and egress with near_egress (where --fastpath
// redirect may send). The program writes flows (state, counters and punt number, under a spin lock), ways (where a direction goes out, for
// one tick of the kernel's clock, under the same lock) and stats. A slot that is used again gets another tag, by which a program that has
// looked up an old key sees that it is too late.
//
// Times are CLOCK_MONOTONIC on both sides; the program reads it as of the kernel's last tick, up to 10 ms ago.
//
// # The program
//
// Its source is in bpf: pass.h is [conntrack.Fast.Pass] function by function, parse.h reads packets as package proxy's decoder does. The object is
// committed (bpf_bpfel.o, bpf_bpfeb.o), so that building needs no compiler for C; go generate makes it anew, and .ci/bpf fails where
// the committed one is not what that makes. TestModel holds the program against the model, TestEngine against an engine that steps every
// segment, over a million random segments each. The source is under the MIT licence or GPL-2.0, at your choice, as the kernel lets only a
// GPL-compatible program ask for routes.
package fastpath

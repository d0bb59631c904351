// Package oracle holds a differential test: seeded random segments go through the nf_conntrack of the running kernel and through
// the engine with the policy linux-default, and each segment's fate is compared. docs/oracle.md describes it. The generator, the
// packets and the shrinking are tested without root; the kernel takes part with the build tag netns.
package oracle

//go:build !netns

package policy

import "runtime/debug"

// breadth is of how many cases a wide test takes one in the fast tier; the full tier takes them all.
const breadth = 5

// fastSeeds is how many worlds TestFastTwins makes of a policy.
const fastSeeds = 1

// Tests make much garbage and keep little of it: to collect it less often saves a quarter of the fast tier's processor time.
func init() { debug.SetGCPercent(400) }
